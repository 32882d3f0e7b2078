//! A program from its arguments to its exit code, with real signals. The test binary starts itself
//! as the program, so it has its own `main`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Trial};
use miniapp_config::{PLATFORM, Section, check};
use miniapp_program::Program;
use rustix::process::{Pid, Signal, kill_process};

/// With a revision, as in release builds.
const PROGRAM: Program = Program {
    name: "example",
    about: "An example",
    admin_port: 9000,
    sections: &[check::<WorkerConfig>],
    version: env!("CARGO_PKG_VERSION"),
    revision: Some(REVISION),
    keeps_traces: false,
};
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(serde::Deserialize)]
struct WorkerConfig {
    concurrency: u16,
}

impl Section for WorkerConfig {
    const NAME: &'static str = "worker";
}

const AS_SERVICE: &str = "MINIAPP_TEST_AS_SERVICE";

fn main() -> ExitCode {
    match std::env::var(AS_SERVICE).as_deref() {
        Ok("stubborn") => miniapp_program::run(PROGRAM, &[PLATFORM], |context| async move {
            println!("ready");
            context.shutdown.begun().await;
            println!("stopping");
            std::future::pending().await
        }),
        Ok("failing") => miniapp_program::run(PROGRAM, &[PLATFORM], |_| async {
            anyhow::bail!("the disk\nis full")
        }),
        Ok(_) => miniapp_program::run(PROGRAM, &[PLATFORM], |context| async move {
            let worker: WorkerConfig = context.config.section()?;
            println!("ready {}", worker.concurrency);
            context.shutdown.begun().await;
            Ok(())
        }),
        Err(_) => {
            let tests = [
                trial("help_and_version_are_printed", help_and_version_are_printed),
                trial("signal_stops_program", signal_stops_program),
                trial("second_signal_exits_at_once", second_signal_exits_at_once),
                trial("failure_is_one_line", failure_is_one_line),
                trial("invalid_setting_is_one_line", invalid_setting_is_one_line),
                trial("used_port_is_one_line", used_port_is_one_line),
            ];
            libtest_mimic::run(&Arguments::from_args(), tests.into()).exit_code()
        }
    }
}

/// A test with its own home directory.
fn trial(name: &str, test: fn(&Path)) -> Trial {
    Trial::test(name, move || {
        let directory = tempfile::tempdir().expect("a directory");
        test(directory.path());
        Ok(())
    })
}

fn service(kind: &str, home: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .env_clear()
        .env(AS_SERVICE, kind)
        .env("HOME", home)
        .env("MINIAPP__ADMIN__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("sent");
}

/// Runs a command that fails, and returns its exit code and stderr.
fn failed(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("run");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

fn help_and_version_are_printed(home: &Path) {
    let output = service("plain", home).arg("--help").output().expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && text.contains("--config <FILE>"), "{text}");
    let output = service("plain", home).arg("--version").output().expect("run");
    assert_eq!(
        output.stdout,
        format!("example {} ({REVISION})\n", env!("CARGO_PKG_VERSION")).as_bytes()
    );
    let mut command = service("plain", home);
    command.arg("--nonsense");
    assert_eq!(failed(command).0, Some(2));
}

fn signal_stops_program(home: &Path) {
    let file = home.join("miniapp.toml");
    std::fs::write(&file, "[worker]\nconcurrency = 7\n").expect("written");
    for sent in [Signal::TERM, Signal::INT] {
        let mut child = service("plain", home).arg("--config").arg(&file).spawn().expect("run");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready 7");
        signal(&child, sent);
        assert!(child.wait().expect("ended").success());
        let mut log = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        assert!(log.lines().all(|line| line.starts_with('{')), "not JSON: {log}");
        assert!(log.contains("\"message\":\"stopping"), "{log}");
    }
}

fn second_signal_exits_at_once(home: &Path) {
    let mut child = service("stubborn", home).spawn().expect("run");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    signal(&child, Signal::TERM);
    assert_eq!(lines.next().expect("a line").expect("text"), "stopping");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().expect("ended").code(), Some(1));
}

fn failure_is_one_line(home: &Path) {
    let (code, stderr) = failed(service("failing", home));
    assert_eq!((code, stderr.as_str()), (Some(1), "error: the disk is full\n"));
}

fn invalid_setting_is_one_line(home: &Path) {
    let mut command = service("plain", home);
    command.env("MINIAPP__API__LISEN", "x");
    let (code, stderr) = failed(command);
    assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.contains("did you mean MINIAPP__API__LISTEN?"), "{stderr}");
    let mut command = service("plain", home);
    command.env("MINIAPP__TELEMETRY__SAMPLER", "sometimes");
    let (code, stderr) = failed(command);
    assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.contains("MINIAPP__TELEMETRY__SAMPLER"), "{stderr}");
    assert!(stderr.contains("always_on"), "{stderr}");
}

fn used_port_is_one_line(home: &Path) {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = service("plain", home);
    command.env("MINIAPP__ADMIN__LISTEN", &address);
    let (code, stderr) = failed(command);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains(&address) && stderr.contains("MINIAPP__ADMIN__LISTEN"), "{stderr}");
}
