//! The database is restored while RabbitMQ keeps its messages.

use std::process::Command;

use futures_util::future::join_all;
use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{PASSWORD, Separate, Service, Signal, User};
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use crate::separate::support::{databases, expect_finished_once, new_user, shared};

async fn stop(service: &mut Service) {
    service.signal(Signal::TERM);
    let status = service.ended().await;
    assert_eq!(status.code(), Some(0), "{}", service.log());
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("a program");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

async fn expect_invalid(platform: &Separate, users: &[User]) {
    for user in users {
        let refused = Answer::to(user.api("GET", "/api/tasks")).await;
        refused.expect(401).expect_problem(Code::TokenInvalid);
        let refresh = client().post(format!("{}/refresh", platform.auth.url()));
        let refused = Answer::to(refresh.json(&json!({ "refreshToken": user.refresh() }))).await;
        refused.expect(401).expect_problem(Code::TokenRevoked);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn restored_platform_forgets_messages_and_sessions() {
    let broker = shared().await;
    let program =
        broker.program().set_secret("a secret of separate processes, for-development-only");
    let mut platform = Separate::start(&program, 2, 2).await;
    let ada = new_user(&platform).await;
    let bob = new_user(&platform).await.remove(0);
    let of_bob = bob.submit("echo", &json!(1)).await.task_id;
    bob.until(of_bob, Status::Finished).await;
    // Their messages wait in the queue.
    join_all(platform.workers.iter_mut().map(stop)).await;
    let submits = (0..5).map(async |_| ada[0].submit("echo", &json!("waits")).await.task_id);
    let waiting = join_all(submits).await;

    let database = program.setting("database.url").rsplit('/').next().expect("a name").to_owned();
    let dump = program.home().join("dump");
    let server = databases().await;
    succeed(server.program("pg_dump", &database).arg("-Fc").arg("-f").arg(&dump));
    Answer::to(bob.auth("DELETE", "/users/me")).await.expect(204);
    let left = [&mut platform.auth].into_iter().chain(&mut platform.apis);
    join_all(left.map(stop)).await;
    let deletions = program.run(&["admin", "deletions"]).await.stdout;
    assert_eq!(deletions, format!("{}\n", bob.id));
    let list = program.home().join("deletions");
    std::fs::write(&list, deletions).expect("written");
    let replace = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    succeed(server.program("psql", &database).args(["--command", replace]));
    let mut restore = server.program("pg_restore", &database);
    succeed(restore.args(["--single-transaction", "--dbname", &database]).arg(&dump));
    let list = list.to_str().expect("UTF-8");
    let done = program.run(&["admin", "after-restore", "--json", "--deleted", list]).await;
    let report: Value = serde_json::from_str(&done.stdout).expect(&done.stderr);
    assert_eq!(report["sessionsEnded"], 2, "{report}");
    assert_eq!(report["unfinishedTasks"], 5, "{report}");
    assert_eq!(report["deletedAccounts"], json!([bob.id]), "{report}");

    join_all(platform.services().map(Service::start_again)).await;
    expect_invalid(&platform, &ada).await;
    let mut ada = ada;
    ada[0].sign_in().await;
    expect_finished_once(&ada[0], &waiting).await;
    let sign_in = client().post(format!("{}/sign-in", platform.auth.url()));
    let body = json!({ "login": bob.login, "password": PASSWORD });
    Answer::to(sign_in.json(&body)).await.expect(401).expect_problem(Code::CredentialsInvalid);

    eventually("the event about the deletion arrives", async || {
        let text = "deleted the tasks of a deleted account";
        let is_it = |line: &str| line.contains(text) && line.contains(&bob.id.to_string());
        platform.apis.iter().any(|api| api.log().lines().any(is_it)).then_some(())
    })
    .await;
    let mut connection = server.connect(&database).await.expect("a connection");
    let count = format!("SELECT count(*) FROM tasks WHERE owner = '{}' AND NOT deleted", bob.id);
    let row = sqlx::query(AssertSqlSafe(count)).fetch_one(&mut connection).await.expect("a count");
    assert_eq!(row.get::<i64, _>(0), 0);
}
