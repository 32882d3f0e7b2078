//! Tests of the `api` program.

use std::process::Command;

#[test]
fn program_rejects_an_in_process_broker() {
    let files = tempfile::tempdir().expect("a directory");
    let run = Command::new(env!("CARGO_BIN_EXE_api"))
        .env("MINIAPP__DATA_DIR", files.path())
        .env("MINIAPP__ADMIN__LISTEN", "127.0.0.1:0")
        .env("MINIAPP__BROKER__URL", "memory://")
        .env_remove("MINIAPP_CONFIG")
        .output()
        .expect("started");
    let log = String::from_utf8(run.stderr).expect("text");
    let refusals: Vec<&str> = log.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(run.status.code(), Some(1), "{log}");
    assert_eq!(refusals.len(), 1, "{log}");
    assert!(refusals[0].contains("memory://") && refusals[0].contains("MINIAPP__BROKER__URL"));
    assert!(!files.path().join("miniapp.db").exists(), "the store was not created");
}
