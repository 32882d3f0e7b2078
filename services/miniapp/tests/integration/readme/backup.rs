//! Runs the commands of the page about backups, as an operator would.

use std::fs;
use std::path::{Path, PathBuf};
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
    let mut blocks = blocks(&read(PAGE), "text");
    blocks.retain(|block| !block.contains("kubectl"));
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

/// Runs the commands around the deletion of one user and the registration of another.
async fn back_up_and_restore(
    program: &Program,
    [backup, restore]: [&str; 2],
    tools: Option<&Path>,
) {
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
    back_up_and_restore(&program, [&backup, &restore], None).await;
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
    back_up_and_restore(&program, [&backup, &restore], tools_of(server).as_deref()).await;
}

/// The current database has tables, functions and migrations that the dump lacks.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn dump_of_the_previous_release_is_restored() {
    let [.., backup, restore] = page();
    let server = Server::shared().await;
    let url = server.database().await.expect("a database");
    let (_, name) = url.rest().rsplit_once('/').expect("a name");
    let previous = include_str!("../platform/previous_release/postgres.sql");
    server.execute(name, previous).await.expect("the tables of the previous release");
    let program = Program::new(env!("CARGO_BIN_EXE_miniapp"))
        .set("database.url", url.expose())
        .set("tasks.retention", "36500d")
        .set_secret("the secret of the previous release");
    let tools = tools_of(server);
    run(&program, &backup, tools.as_deref());

    let platform = program.start().await;
    let bob = platform.sign_up("bob").await;
    platform.stop().await;
    let printed = run(&program, &restore, tools.as_deref());
    assert!(printed.contains("VIOLATIONS"), "{printed}");
    let platform = program.start().await;
    for (login, status) in [("ada", 200), (bob.login.as_str(), 401)] {
        let sign_in = json!({ "login": login, "password": PASSWORD });
        platform.post_auth("/sign-in", &sign_in).await.expect(status);
    }
}

/// The folder of the client programs of the server.
fn tools_of(server: &Server) -> Option<PathBuf> {
    let dump = server.program("pg_dump", "postgres");
    Path::new(dump.get_program()).parent().map(Path::to_owned)
}
