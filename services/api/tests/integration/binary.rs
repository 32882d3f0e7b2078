//! The program by itself.

use std::process::Command;

#[test]
fn alone_it_refuses_a_broker_that_reaches_nobody() {
    let files = tempfile::tempdir().expect("a directory");
    let run = Command::new(env!("CARGO_BIN_EXE_api"))
        .env("MINIAPP__DATA_DIR", files.path())
        .env("MINIAPP__ADMIN__LISTEN", "127.0.0.1:0")
        .env("MINIAPP__BROKER__URL", "memory://")
        .env_remove("MINIAPP_CONFIG")
        .output()
        .expect("started");
    let said = String::from_utf8(run.stderr).expect("text");
    let refusals: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert_eq!(refusals.len(), 1, "{said}");
    assert!(refusals[0].contains("memory://") && refusals[0].contains("MINIAPP__BROKER__URL"));
    assert!(!files.path().join("miniapp.db").exists(), "nothing was begun");
}
