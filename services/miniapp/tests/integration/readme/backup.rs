//! Runs the commands of the page about backups, as an operator would.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use miniapp_test_support::platform::{PASSWORD, Program};
use miniapp_test_support::postgres::Server;
use serde_json::json;

use crate::readme::pages::{blocks, read};

const PAGE: &str = "docs/operations/backup.md";
/// The folder that the page uses.
const FOLDER: &str = "/backups/";

/// The blocks of the page: backup and restore of SQLite, then of PostgreSQL.
fn page() -> [String; 4] {
    let blocks = blocks(&read(PAGE), "text");
    blocks.try_into().unwrap_or_else(|blocks| panic!("{PAGE} has other blocks: {blocks:?}"))
}

/// Runs a block with `program` as `miniapp`. `tools` is the folder of other programs.
fn run(program: &Program, block: &str, tools: Option<&Path>) -> String {
    let folder = program.home().join("backups");
    fs::create_dir_all(&folder).expect("a folder");
    let block = block.replace(FOLDER, &format!("{}/", folder.display()));
    let mut command = Command::new("sh");
    command
        .args(["-euc", &format!("miniapp() {{ \"$PROGRAM\" \"$@\"; }}\n{block}")])
        .env_clear()
        .envs(program.environment())
        .env("PROGRAM", program.binary())
        .current_dir(program.home())
        .stdin(Stdio::null());
    if let Some(tools) = tools {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", tools.display()));
        command.env("DATABASE_URL", program.setting("database.url"));
    }
    let output = command.output().expect("a shell");
    let [printed, errors] =
        [output.stdout, output.stderr].map(|it| String::from_utf8(it).expect("UTF-8"));
    assert!(output.status.success(), "{block}{printed}{errors}");
    printed
}

/// A user is deleted between the backup and the restore, and another one registers.
async fn story(program: &Program, [backup, restore]: [&str; 2], tools: Option<&Path>) {
    let platform = program.start().await;
    let ada = platform.sign_up("ada").await;
    ada.submit("echo", &json!(1)).await;
    run(program, backup, tools);
    let deleted = ada.auth("DELETE", "/users/me").send().await.expect("a response");
    assert_eq!(deleted.status(), 204);
    let bob = platform.sign_up("bob").await;
    platform.stop().await;
    let printed = run(program, restore, tools);
    for expected in ["Sessions ended: 1", "Accounts deleted again: 1", "VIOLATIONS"] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    // One was deleted after the backup, the other one had no account yet.
    let platform = program.start().await;
    for user in [ada, bob] {
        let sign_in = json!({ "login": user.login, "password": PASSWORD });
        platform.post_auth("/sign-in", &sign_in).await.expect(401);
    }
}

#[tokio::test]
async fn commands_for_sqlite_work() {
    let [backup, restore, ..] = page();
    let program = Program::new(env!("CARGO_BIN_EXE_miniapp"));
    story(&program, [&backup, &restore], None).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn commands_for_postgresql_work() {
    let [.., backup, restore] = page();
    let server = Server::shared().await;
    let url = server.database().await.expect("a database");
    let program = Program::new(env!("CARGO_BIN_EXE_miniapp"))
        .set("database.url", url.expose())
        .set_secret("one for all who use this database, for-development-only");
    let dump = server.program("pg_dump", "postgres");
    let tools = Path::new(OsStr::new(dump.get_program())).parent().map(Path::to_owned);
    story(&program, [&backup, &restore], tools.as_deref()).await;
}
