//! A database server that is missing, rejects the password or crashes.

use std::collections::HashSet;

use futures_util::future::join_all;
use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Platform, User, task};
use miniapp_test_support::postgres::Server;
use miniapp_types::task::{EventType, Status};
use serde_json::json;
use uuid::Uuid;

use crate::platform::support::{new_user, program};

const TASKS: usize = 300;

/// Waits until the platform has logged the `reason`, and is alive but not ready.
async fn waits(platform: &Platform, reason: &str) {
    eventually("it says what is wrong", async || {
        let log = platform.log();
        let mut lines = log.lines();
        lines
            .any(|line| line.contains("opening the accounts") && line.contains(reason))
            .then_some(())
    })
    .await;
    Answer::to(platform.admin_request("/livez")).await.expect(200);
    Answer::to(platform.admin_request("/readyz")).await.expect(503);
}

/// Checks that the platform works, and has not logged the password.
async fn works(platform: &Platform, password: &str) {
    let user = new_user(platform).await;
    let id = user.submit("echo", &json!("after all")).await.task_id;
    user.until(id, Status::Finished).await;
    let output = platform.output();
    assert!(!output.contains(password) && !output.contains("panicked"), "{output}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn platform_waits_for_database() {
    let server = Server::alone(&[]).await;
    let url = server.database().await.expect("a database");
    server.crash().expect("it ran");
    let platform = program().set("database.url", url.expose()).launch();
    waits(&platform, "Connection refused").await;
    server.resume().await.expect("a start");
    works(&platform.ready().await, "pass%2Fword").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn platform_continues_after_password_is_corrected() {
    let server = Server::alone(&[]).await;
    let url = server.database().await.expect("a database");
    let name = url.rest().rsplit('/').next().expect("a name");
    let role = "CREATE ROLE app LOGIN PASSWORD 'the old one'";
    server.execute("postgres", role).await.expect("a role");
    let owner = format!("ALTER DATABASE {name} OWNER TO app");
    server.execute("postgres", &owner).await.expect("an owner");
    let url = format!("postgres://app:s3cr3t@127.0.0.1:{}/{name}", server.port());
    let platform = program().set("database.url", url).launch();
    waits(&platform, "password authentication failed for user").await;
    let role = "ALTER ROLE app PASSWORD 's3cr3t'";
    server.execute("postgres", role).await.expect("a password");
    works(&platform.ready().await, "s3cr3t").await;
}

#[tokio::test]
async fn platform_without_database_stops_on_signal() {
    let platform = program().set("database.url", "postgres://a:s3cr3t@127.0.0.1:1/b").launch();
    waits(&platform, "the database b at 127.0.0.1:1").await;
    let ended = platform.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(!ended.log.contains("s3cr3t"), "{}", ended.log);
}

/// Submits until the task is accepted, with an idempotency key.
async fn submit(user: &User, number: usize) -> Uuid {
    let data = json!({ "seconds": if number.is_multiple_of(3) { 0.2 } else { 0.01 } });
    let body = task("sleep", &data);
    let key = format!("number-{number}");
    eventually("the task is accepted", async || {
        let request = user.api("POST", "/api/tasks").header("idempotency-key", &key).json(&body);
        let answer = Answer::to(request).await;
        match answer.status.as_u16() {
            200 | 201 => Some(answer.text("taskId").parse().expect("a UUID")),
            // A failed request still gets a problem document.
            503 => {
                assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
                None
            }
            _ => panic!("{answer:?}"),
        }
    })
    .await
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn database_crash_under_load_loses_no_task() {
    let server = Server::alone(&[]).await;
    let url = server.database().await.expect("a database");
    let program = program().set("database.url", url.expose()).set("worker.lease", "3s");
    let platform = program.start().await;
    let user = new_user(&platform).await;

    let submits = async {
        let mut accepted = Vec::new();
        for hundred in 0..TASKS / 100 {
            let numbers = hundred * 100..(hundred + 1) * 100;
            accepted.extend(join_all(numbers.map(|number| submit(&user, number))).await);
        }
        accepted
    };
    let crashes = async {
        for crash in 1..=3 {
            eventually("tasks come in", async || {
                let stored = count(&server, &url).await?;
                (stored >= crash * TASKS / 8).then_some(())
            })
            .await;
            server.restart().await.expect("a restart");
        }
    };
    let (accepted, ()) = tokio::join!(submits, crashes);
    let accepted: HashSet<Uuid> = accepted.into_iter().collect();
    assert_eq!(accepted.len(), TASKS);

    eventually("all tasks have ended", async || {
        let count = user.count_by_status().await;
        (count.get(&Status::Finished) == Some(&TASKS)).then_some(())
    })
    .await;
    let tasks = user.tasks().await;
    assert_eq!(tasks.iter().map(|task| task.task_id).collect::<HashSet<_>>(), accepted);
    for task in &tasks {
        let types = user.event_types(task.task_id).await;
        let ends = types.iter().filter(|event| **event == EventType::Finished).count();
        assert_eq!((ends, types.last()), (1, Some(&EventType::Finished)), "{task:?}: {types:?}");
    }
    assert!(!platform.log().contains("panicked"), "{}", platform.log());
}

/// The number of stored tasks, if the server responds.
async fn count(server: &Server, url: &miniapp_config::EngineUrl) -> Option<usize> {
    let name = url.rest().rsplit('/').next()?;
    let mut connection = server.connect(name).await.ok()?;
    let count = sqlx::query_scalar("SELECT count(*) FROM tasks").fetch_one(&mut connection);
    usize::try_from(count.await.unwrap_or(0_i64)).ok()
}
