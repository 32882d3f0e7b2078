//! The programs of this crate run their kind.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const PLATFORM: &str = env!("CARGO_BIN_EXE_own-kinds");
const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A running platform in a directory of its own.
struct Running {
    directory: PathBuf,
    process: Child,
    urls: [(&'static str, String); 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn command(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).stdin(Stdio::piped()).stdout(Stdio::piped());
    for listener in ["API", "AUTH", "ADMIN"] {
        command.env(format!("MINIAPP__{listener}__LISTEN"), "127.0.0.1:0");
    }
    command.env("MINIAPP__INVOICES__CURRENCY", "CHF");
    command
}

impl Running {
    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut serve = command(PLATFORM, &directory);
        let mut process = serve.args(["serve", "--json"]).spawn().expect("started");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut lines = output.lines();
        let listening = lines.next().expect("a line").expect("a text");
        let listening: Value = serde_json::from_str(&listening).expect("JSON");
        // Read on, so that the platform can write.
        std::thread::spawn(move || lines.for_each(drop));
        let url = |service: &str| format!("http://{}", listening[service].as_str().expect(service));
        let urls = [("MINIAPP_URL", url("api")), ("MINIAPP_AUTH_URL", url("auth"))];
        Self { directory, process, urls }
    }

    /// Runs a command against this platform and returns its output.
    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut command = command(PLATFORM, &self.directory);
        command.args(arguments);
        // It reads the database instead.
        if arguments[0] != "mail" {
            command.envs(self.urls.clone());
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().expect("an end");
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("a text")
    }
}

#[test]
fn platform_runs_the_kind_with_its_settings() {
    let platform = Running::start("own-kinds-platform");
    let email = "ada@example.com";
    platform.run(&["register", email], "");
    let code = platform.run(&["mail", "--code", "--to", email], "");
    let account = ["--code", code.trim(), "--login", "ada", "--password-stdin"];
    platform.run(&[&["register", email][..], &account].concat(), "seven quiet lanterns");
    let data = r#"{"customer":"ada","cents":1205}"#;
    let submit = ["task", "submit", "An invoice", "--kind", "invoice", "--data", data];
    let task = platform.run(&[&submit[..], &["--wait", "--json"]].concat(), "");
    let task: Value = serde_json::from_str(&task).expect("JSON");
    assert_eq!(task["status"], "Finished", "{task}");
    assert_eq!(task["result"]["text"], "ada: 12.05 CHF");
    let kinds: Value = serde_json::from_str(&platform.run(&["kinds", "--json"], "")).expect("JSON");
    let names: Vec<&str> = kinds["kinds"]
        .as_array()
        .expect("kinds")
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert!(names.contains(&"invoice") && names.contains(&"echo"), "{names:?}");
}

#[test]
fn settings_are_listed_and_checked() {
    let home = std::env::temp_dir();
    let output = command(PLATFORM, &home).args(["config", "--json"]).output().expect("run");
    let settings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let settings = settings["settings"].as_array().expect("a list");
    let currency = settings.iter().find(|it| it["key"] == "invoices.currency").expect("listed");
    assert_eq!(currency["value"], "CHF");
    for program in [PLATFORM, WORKER] {
        let mut wrong = command(program, &home);
        wrong.env("MINIAPP__INVOICES__CURRENCY", "francs").stderr(Stdio::piped());
        wrong.env("MINIAPP__DATA_DIR", home.join("own-kinds-unused"));
        let output = wrong.output().expect("run");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(error.contains("invoices.currency (MINIAPP__INVOICES__CURRENCY)"), "{error}");
    }
}
