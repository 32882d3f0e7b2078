//! A program from its arguments to its exit code, with real signals: the test starts
//! itself as the service.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use miniapp_config::{Section, check};
use miniapp_program::Program;
use rustix::process::{Pid, Signal, kill_process};

/// A test with a home of its own.
type Test = fn(&Path);

/// A program as release builds make it.
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

const AS_SERVICE: &str = "KIT_TEST_AS_SERVICE";

fn main() -> ExitCode {
    match std::env::var(AS_SERVICE).as_deref() {
        Ok("stubborn") => miniapp_program::run(PROGRAM, |context| async move {
            println!("ready");
            context.shutdown.begun().await;
            println!("asked");
            std::future::pending().await
        }),
        Ok("failing") => {
            miniapp_program::run(PROGRAM, |_| async { anyhow::bail!("the disk\nis full") })
        }
        Ok(_) => miniapp_program::run(PROGRAM, |context| async move {
            let worker: WorkerConfig = context.config.section()?;
            println!("ready {}", worker.concurrency);
            context.shutdown.begun().await;
            Ok(())
        }),
        Err(_) => {
            let tests: [(&str, Test); 6] = [
                ("help and version are told", help_and_version_are_told),
                ("a signal ends it cleanly", a_signal_ends_it_cleanly),
                ("a second signal ends it at once", a_second_signal_ends_it_at_once),
                ("a fault is one line", a_fault_is_one_line),
                ("a wrong setting is one line", a_wrong_setting_is_one_line),
                ("a taken port is one line", a_taken_port_is_one_line),
            ];
            for (name, test) in tests {
                let directory = tempfile::tempdir().expect("a directory");
                test(directory.path());
                println!("test {name} ... ok");
            }
            ExitCode::SUCCESS
        }
    }
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

/// The exit code and what was said on stderr.
fn failed(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("run");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

fn help_and_version_are_told(home: &Path) {
    let output = service("plain", home).arg("--help").output().expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && text.contains("--config <FILE>"), "{text}");
    let output = service("plain", home).arg("--version").output().expect("run");
    assert_eq!(
        output.stdout,
        format!(
            "example {} ({REVISION})
",
            env!("CARGO_PKG_VERSION")
        )
        .as_bytes()
    );
    let mut command = service("plain", home);
    command.arg("--nonsense");
    assert_eq!(failed(command).0, Some(2));
}

fn a_signal_ends_it_cleanly(home: &Path) {
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
        assert!(log.lines().all(|line| line.starts_with('{')), "JSON, no terminal: {log}");
        assert!(log.contains("\"message\":\"stopping"), "{log}");
    }
}

fn a_second_signal_ends_it_at_once(home: &Path) {
    let mut child = service("stubborn", home).spawn().expect("run");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    signal(&child, Signal::TERM);
    assert_eq!(lines.next().expect("a line").expect("text"), "asked");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().expect("ended").code(), Some(1));
}

fn a_fault_is_one_line(home: &Path) {
    let (code, said) = failed(service("failing", home));
    assert_eq!((code, said.as_str()), (Some(1), "error: the disk is full\n"));
}

fn a_wrong_setting_is_one_line(home: &Path) {
    let mut command = service("plain", home);
    command.env("MINIAPP__API__LISEN", "x");
    let (code, said) = failed(command);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("did you mean MINIAPP__API__LISTEN?"), "{said}");
}

fn a_taken_port_is_one_line(home: &Path) {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = service("plain", home);
    command.env("MINIAPP__ADMIN__LISTEN", &address);
    let (code, said) = failed(command);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains(&address) && said.contains("MINIAPP__ADMIN__LISTEN"), "{said}");
}
