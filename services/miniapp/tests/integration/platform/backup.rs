//! What a restore brings back, on both engines.

mod files;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, PASSWORD, Platform, Program, User, task};
use miniapp_test_support::postgres::Server;
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::platform::support::{new_user, program_on};

miniapp_test_support::on_all_engines!(
    restore_ends_sessions_and_replays_deletions,
    restored_tasks_run_once_more,
    deletions_can_be_named_in_a_file,
);

/// A copy of the database of a program.
struct Backup {
    engines: Engines,
    file: PathBuf,
}

impl Backup {
    /// Copies the database, which may be in use.
    async fn take(engines: Engines, program: &Program, name: &str) -> Self {
        let file = program.home().join(name);
        match engines {
            Engines::Embedded => {
                succeed(program, &["backup", file.to_str().expect("UTF-8")]).await;
            }
            Engines::Postgres => {
                client("pg_dump", program).await.arg("-Fc").arg("-f").arg(&file).succeed();
            }
        }
        Self { engines, file }
    }

    /// Puts the copy in the place of the database, as the documentation describes. Returns the
    /// report.
    async fn restore(&self, program: &Program, arguments: &[&str]) -> Value {
        let mut command = vec!["--json"];
        let file = self.file.to_str().expect("UTF-8");
        match self.engines {
            Engines::Embedded => command.extend(["restore", file]),
            Engines::Postgres => {
                let replace = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
                client("psql", program).await.args(["--command", replace]).succeed();
                let mut client = client("pg_restore", program).await;
                client.args(["--single-transaction", "-d", name_of(program)]).arg(file).succeed();
                command.extend(["admin", "after-restore"]);
            }
        }
        command.extend(arguments);
        let report: Value = serde_json::from_str(&succeed(program, &command).await).expect("JSON");
        match self.engines {
            Engines::Embedded => report["restored"].clone(),
            Engines::Postgres => report,
        }
    }
}

trait Succeed {
    fn succeed(&mut self);
}

impl Succeed for Command {
    fn succeed(&mut self) {
        let output = self.output().expect("a program");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{self:?}: {text}");
    }
}

/// Runs a command of the program. Returns its output.
async fn succeed(program: &Program, command: &[&str]) -> String {
    let done = program.run(command).await;
    assert!(done.status.success(), "{command:?}: {}{}", done.stdout, done.stderr);
    done.stdout
}

/// Runs a command that fails, with a message of one line. Returns the message.
async fn fail(program: &Program, command: &[&str]) -> String {
    let done = program.run(command).await;
    assert_eq!(done.status.code(), Some(1), "{command:?}: {}{}", done.stdout, done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    done.stderr
}

fn name_of(program: &Program) -> &str {
    program.setting("database.url").rsplit('/').next().expect("a name")
}

async fn client(name: &str, program: &Program) -> Command {
    Server::shared().await.program(name, name_of(program))
}

fn database(program: &Program) -> PathBuf {
    program.data_dir().join("miniapp.db")
}

async fn refresh(platform: &Platform, token: &str) -> Answer {
    platform.post_auth("/refresh", &json!({ "refreshToken": token })).await
}

/// Checks that neither token is accepted anywhere.
async fn expect_invalid(platform: &Platform, user: &User, place: &str) {
    let invalid = [Code::TokenRevoked, Code::TokenInvalid, Code::TokenReused];
    for answer in [
        Answer::to(user.api("GET", "/api/tasks")).await,
        Answer::to(user.auth("GET", "/users/me")).await,
        refresh(platform, &user.refresh()).await,
    ] {
        let code = answer.expect(401).problem().code;
        assert!(invalid.contains(&code), "{place}: {code}");
    }
    let validate = json!({ "token": user.access() });
    platform.post_auth("/validate", &validate).await.expect(400);
}

fn sign_in(user: &User) -> Value {
    json!({ "login": user.login, "password": PASSWORD })
}

/// Deletes the account at auth, and waits until its tasks are deleted, too.
async fn delete(platform: &Platform, user: &User) {
    Answer::to(user.auth("DELETE", "/users/me")).await.expect(204);
    wait_for_deletion(platform, user.id).await;
}

async fn wait_for_deletion(platform: &Platform, user: Uuid) {
    eventually("the event about the deletion arrives", async || {
        let log = platform.log();
        let mut lines = log.lines().filter(|line| line.contains(&user.to_string()));
        lines.any(|line| line.contains("deleted the tasks of a deleted account")).then_some(())
    })
    .await;
}

async fn restore_ends_sessions_and_replays_deletions(engines: Engines) {
    let platform = program_on(engines).await.set("auth.secret", "x".repeat(32)).start().await;
    let [ada, bob] = [new_user(&platform).await, new_user(&platform).await];
    let kept = ada.submit("echo", &json!("kept")).await.task_id;
    ada.until(kept, Status::Finished).await;
    let later = SystemClock.now() + Duration::from_hours(1);
    let mut of_bob = task("echo", &json!(1));
    of_bob["runAt"] = json!(later.to_string());
    bob.try_submit(&of_bob).await.expect("an answer").expect(201);
    let backup = Backup::take(engines, platform.program(), "backup").await;

    let mut refreshed = ada.clone();
    let tokens = refresh(&platform, &ada.refresh()).await.expect(200);
    refreshed.use_tokens(&tokens.text("authToken"), &tokens.text("refreshToken"));
    delete(&platform, &bob).await;
    let cyd = new_user(&platform).await;
    cyd.submit("echo", &json!("lost")).await;
    let program = platform.stop().await.program;
    let deletions = succeed(&program, &["admin", "deletions"]).await;
    assert_eq!(deletions, format!("{}\n", bob.id));
    let list = program.home().join("deletions");
    fs::write(&list, deletions).expect("written");

    let named = ["--deleted", list.to_str().expect("UTF-8")];
    // The replaced SQLite file is read by the command itself.
    let arguments = if engines == Engines::Embedded { &[][..] } else { &named };
    let report = backup.restore(&program, arguments).await;
    assert_eq!(report["sessionsEnded"], 2, "{report}");
    assert_eq!(report["deletedAccounts"], json!([bob.id]), "{report}");
    assert_eq!(report["orphanedOwners"], json!([]), "{report}");

    let platform = program.start().await;
    for (user, place) in [(&ada, "before"), (&refreshed, "after"), (&bob, "bob"), (&cyd, "cyd")] {
        expect_invalid(&platform, user, place).await;
    }
    for gone in [&bob, &cyd] {
        let refused = platform.post_auth("/sign-in", &sign_in(gone)).await;
        refused.expect(401).expect_problem(Code::CredentialsInvalid);
    }
    let mut ada = ada;
    ada.sign_in().await;
    assert_eq!(ada.task(kept).await.status, Status::Finished);
    wait_for_deletion(&platform, bob.id).await;
    // Its login and address can be registered.
    platform.sign_up(&cyd.login).await;
    let program = platform.stop().await.program;
    let check = succeed(&program, &["check", "--json"]).await;
    let check: Value = serde_json::from_str(&check).expect("JSON");
    let rules = check["rules"].as_array().expect("rules");
    assert!(rules.iter().all(|rule| rule["broken"] == 0), "{check}");
    // Whatever is restored next, the account stays deleted.
    let deletions = succeed(&program, &["admin", "deletions"]).await;
    assert_eq!(deletions, format!("{}\n", bob.id));
}

/// What had not ended runs again, with new claims.
async fn restored_tasks_run_once_more(engines: Engines) {
    let program = program_on(engines).await.set("auth.secret", "x".repeat(32));
    let platform = program.set("worker.lease", "5s").start().await;
    let mut user = new_user(&platform).await;
    // It runs for longer than a backup takes.
    let running = user.submit("sleep", &json!({ "seconds": 300 })).await.task_id;
    user.until(running, Status::Executing).await;
    let backup = Backup::take(engines, platform.program(), "backup").await;
    cancel(&user, running).await;
    let program = platform.stop().await.program;
    let report = backup.restore(&program, &[]).await;
    assert_eq!(report["unfinishedTasks"], 1, "{report}");

    let platform = program.start().await;
    user.sign_in().await;
    eventually("the task runs again", async || {
        let task = user.task(running).await;
        assert!(!task.status.is_terminal(), "{task:?}");
        (task.status == Status::Executing && task.attempt == 2).then_some(())
    })
    .await;
    cancel(&user, running).await;
    drop(platform);
}

async fn cancel(user: &User, task: Uuid) {
    Answer::to(user.api("POST", &format!("/api/tasks/{task}/cancel"))).await.expect(202);
    user.until(task, Status::Canceled).await;
}

/// For a database that is lost, or a backup of another one.
async fn deletions_can_be_named_in_a_file(engines: Engines) {
    let platform = program_on(engines).await.set("auth.secret", "x".repeat(32)).start().await;
    let [ada, bob] = [new_user(&platform).await, new_user(&platform).await];
    let task = bob.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    bob.until(task, Status::Executing).await;
    let backup = Backup::take(engines, platform.program(), "backup").await;
    let program = platform.stop().await.program;
    if engines == Engines::Embedded {
        fs::remove_file(database(&program)).expect("removed");
    }
    let list = program.home().join("deletions");
    fs::write(&list, format!("\n{}\n{}\n", bob.id, Uuid::nil())).expect("written");
    let report = backup.restore(&program, &["--deleted", list.to_str().expect("UTF-8")]).await;
    assert_eq!(report["deletedAccounts"], json!([bob.id]), "{report}");

    let platform = program.start().await;
    platform.post_auth("/sign-in", &sign_in(&bob)).await.expect(401);
    platform.post_auth("/sign-in", &sign_in(&ada)).await.expect(200);
    wait_for_deletion(&platform, bob.id).await;
    // Its task was deleted before a worker could run it.
    assert!(!platform.log().contains(&task.to_string()), "{}", platform.log());
}

/// Accounts and tasks in two databases, of which the accounts are older.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn tasks_of_unknown_accounts_are_found() {
    let program = program_on(Engines::Postgres).await.set("auth.secret", "x".repeat(32));
    let platform = program.start().await;
    let ada = new_user(&platform).await;
    let before = Backup::take(Engines::Postgres, platform.program(), "before").await;
    let bob = new_user(&platform).await;
    for user in [&ada, &bob] {
        let task = user.submit("echo", &json!(1)).await.task_id;
        user.until(task, Status::Finished).await;
    }
    let program = platform.stop().await.program;
    let accounts = program_on(Engines::Postgres).await;
    let accounts = program.clone().set("database.url", accounts.setting("database.url"));
    let tasks = program.setting("database.url").to_owned();
    let report = before.restore(&accounts, &["--tasks-database", &tasks]).await;
    assert_eq!(report["orphanedOwners"], json!([bob.id]), "{report}");
    assert_eq!(report["orphansDeleted"], false, "{report}");
    let again = ["admin", "after-restore", "--tasks-database", &tasks, "--delete-orphans"];
    let text = succeed(&accounts, &again).await;
    assert!(text.contains("The tasks of 1 unknown accounts were deleted."), "{text}");
    let report = before.restore(&accounts, &["--tasks-database", &tasks]).await;
    assert_eq!(report["orphanedOwners"], json!([]), "{report}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn restore_on_a_server_is_refused_while_a_platform_runs() {
    let program = program_on(Engines::Postgres).await.set("auth.secret", "x".repeat(32));
    let platform = program.start().await;
    let refused = fail(platform.program(), &["admin", "after-restore"]).await;
    assert!(refused.contains("workers are running"), "{refused}");
    let user = new_user(&platform).await;
    let idle = program.set("worker.replicas", 0);
    platform.stop().await;
    let platform = idle.start().await;
    let refused = fail(platform.program(), &["admin", "after-restore"]).await;
    assert!(refused.contains("another process uses this database"), "{refused}");
    platform.post_auth("/refresh", &json!({ "refreshToken": user.refresh() })).await.expect(200);
    for command in [&["backup", "/tmp/b"][..], &["restore", "/tmp/b"]] {
        let refused = fail(platform.program(), command).await;
        assert!(refused.contains("pg_dump"), "{refused}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn another_secret_is_detected() {
    let program = program_on(Engines::Postgres).await.set("auth.secret", "x".repeat(32));
    program.start().await.stop().await;
    let other = program.set("auth.secret", "y".repeat(32));
    let refused = fail(&other, &["admin", "after-restore"]).await;
    for expected in ["was sealed with", "MINIAPP__AUTH__SECRET", "add --new-secret"] {
        assert!(refused.contains(expected), "{refused}");
    }
    let list = other.home().join("deletions");
    fs::write(&list, "").expect("written");
    let list = list.to_str().expect("UTF-8");
    for (deleted, is_noted) in [(vec![], true), (vec!["--deleted", list], false)] {
        let command = [vec!["admin", "after-restore", "--new-secret"], deleted].concat();
        let done = other.run(&command).await;
        assert!(done.status.success(), "{}{}", done.stdout, done.stderr);
        assert_eq!(done.stderr.contains("unless --deleted names them"), is_noted, "{done:?}");
    }
    other.start().await;
}
