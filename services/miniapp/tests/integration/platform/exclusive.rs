//! Two platforms on one database: with a broker in each process, the second one has to refuse.

use std::time::Duration;

use miniapp_test_support::eventually;
use miniapp_test_support::platform::{Platform, Program, Signal};
use miniapp_test_support::postgres::{PoolMode, Pooler, Server};
use miniapp_types::task::{EventType, Status};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::platform::support::{new_user, program};

const SECRET: &str = "one for all who use this database, for-development-only";
/// A live process is detected by its next renewal.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);
/// The lease of a process that crashed, and a slow start.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(20);

fn on(url: &str) -> Program {
    program().set("database.url", url).set_secret(SECRET)
}

/// Starts a second process, which has to end with one line that names the first.
async fn expect_refused(second: &Program, first: &Platform) {
    let refused = timeout(REFUSED_WITHIN, second.run(&[])).await.expect("it ends");
    assert_eq!(refused.status.code(), Some(1), "{}{}", refused.stdout, refused.stderr);
    assert!(!refused.stdout.contains("is running"), "{}", refused.stdout);
    let line = refused.stderr.lines().last().expect("a line").to_owned();
    let process = format!("process {}", first.pid().as_raw_nonzero());
    for expected in ["another process uses this database", &process, "MINIAPP__BROKER__URL"] {
        assert!(line.contains(expected), "{line}");
    }
}

async fn second_platform_is_refused(url: &str) {
    let first = on(url).set("worker.lease", "5s").start().await;
    let user = new_user(&first).await;
    let running = user.submit("sleep", &json!({ "seconds": 6 })).await.task_id;
    user.until(running, Status::Executing).await;
    expect_refused(&on(url), &first).await;
    // It has not touched the tasks of the first.
    let task = user.until(running, Status::Finished).await;
    assert_eq!(task.attempt, 1, "{task:?}");
    let types = user.event_types(running).await;
    let starts = types.iter().filter(|event| **event == EventType::Started).count();
    assert_eq!(starts, 1, "{types:?}");

    // A killed process is replaced soon, a stopped one at once.
    first.kill().await;
    let killed_at = Instant::now();
    let second = on(url).start().await;
    assert!(killed_at.elapsed() < TAKEN_OVER_WITHIN, "{:?}", killed_at.elapsed());
    let ended = second.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let third = on(url).start().await;
    assert!(!third.log().contains("waiting for the lease"), "{}", third.log());
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn second_platform_on_a_server_is_refused() {
    let url = Server::shared().await.database().await.expect("a database");
    second_platform_is_refused(url.expose()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn second_platform_behind_a_pooler_is_refused() {
    let server = Server::shared().await;
    let url = server.database().await.expect("a database");
    let pooler = Pooler::start(server, PoolMode::Transaction, &[]).await.expect("a pooler");
    second_platform_is_refused(pooler.url(&url).expose()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn one_of_two_platforms_that_start_together_is_refused() {
    let url = Server::shared().await.database().await.expect("a database");
    let both = [on(url.expose()).launch(), on(url.expose()).launch()];
    let logs = || both.iter().map(Platform::log).collect::<Vec<_>>();
    eventually("one is refused", async || {
        let refused = |log: &String| log.contains("another process uses this database");
        let count = logs().iter().filter(|log| refused(log)).count();
        assert!(count < 2, "{:?}", logs());
        (count == 1).then_some(())
    })
    .await;
}

/// A suspended process does not come back to a database that another one has taken over.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn suspended_platform_stops_when_another_has_taken_over() {
    let url = Server::shared().await.database().await.expect("a database");
    let first = on(url.expose()).start().await;
    first.signal(Signal::STOP);
    let second = on(url.expose()).start().await;
    first.signal(Signal::CONT);
    let ended = first.ended().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains("another process uses this database"), "{}", ended.log);
    let user = new_user(&second).await;
    let task = user.submit("echo", &json!(1)).await;
    user.until(task.task_id, Status::Finished).await;
}

/// Each has a data directory of its own, so its lock does not help.
#[tokio::test]
async fn second_platform_on_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", folder.path().join("shared.db").display());
    second_platform_is_refused(&url).await;
}
