//! The platform behind `PgBouncer`.

use futures_util::future::join_all;
use miniapp_test_support::platform::Program;
use miniapp_test_support::postgres::{PoolMode, Pooler, Server};
use miniapp_types::task::{EventType, Status};
use serde_json::json;

use crate::platform::support::{new_user, program};

/// The program behind a pooler that has fewer connections than the program wants.
async fn behind_pooler(mode: PoolMode) -> (Pooler, Program) {
    let server = Server::shared().await;
    let url = server.database().await.expect("a database");
    let pooler = Pooler::start(server, mode, &["default_pool_size=4"]).await.expect("a pooler");
    let program = program().set("database.url", pooler.url(&url).expose());
    (pooler, program)
}

async fn platform_works(mode: PoolMode) {
    let (_pooler, program) = behind_pooler(mode).await;
    // The second start finds the migrations applied and no stranded lock.
    program.start().await.stop().await;
    let platform = program.start().await;
    let user = new_user(&platform).await;
    let submits = (0..50).map(async |number| user.submit("echo", &json!(number)).await.task_id);
    for id in join_all(submits).await {
        user.until(id, Status::Finished).await;
    }
    let flaky = user.submit("flaky", &json!({ "failures": 1 })).await.task_id;
    user.until(flaky, Status::Finished).await;
    let types = user.event_types(flaky).await;
    assert_eq!(types.iter().filter(|event| **event == EventType::Started).count(), 2, "{types:?}");
    assert_eq!(user.tasks().await.len(), 51);
    let log = platform.log();
    assert!(!log.contains("prepared statement") && !log.contains("ERROR"), "{log}");
    let ended = platform.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn platform_works_behind_a_pooler_of_sessions() {
    platform_works(PoolMode::Session).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn platform_works_behind_a_pooler_of_transactions() {
    platform_works(PoolMode::Transaction).await;
}
