//! Steps and idempotency keys of tasks with several attempts.

use std::sync::Arc;

use miniapp_runtime::clock::SystemClock;
use miniapp_test_support::postgres::Server;
use miniapp_types::task::Status;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::worker::platform::Platform;

async fn embedded() -> Platform {
    Platform::start().await
}

async fn postgres() -> Platform {
    let database = Server::shared().await.settings().await.expect("a database");
    Platform::on(database, Arc::new(SystemClock)).await
}

async fn result(platform: &Platform, id: Uuid) -> Value {
    let task = platform.ended(id).await;
    assert_eq!(task.state.status, Status::Finished, "{task:?}");
    json!(task.state.result)
}

async fn retry_continues_after_the_steps(platform: Platform) {
    let _worker = platform.worker();
    let id = platform.submit("remembers", json!(1)).await;
    platform.gate.open(2);
    let first = result(&platform, id).await;
    assert_eq!(first, json!([format!("{id}-1"), format!("{id}-2"), format!("{id}.1")]));
    // A restart is a new generation, which has another key and no steps.
    platform.restart(id).await;
    platform.gate.open(2);
    let second = result(&platform, id).await;
    assert_eq!(second, json!([format!("{id}-3"), format!("{id}-4"), format!("{id}.2")]));
}

async fn killed_worker_leaves_its_steps(platform: Platform) {
    let worker = platform.worker();
    let id = platform.submit("remembers", json!(0)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    worker.shutdown.begin();
    worker.shutdown.abort();
    worker.stopped().await;
    let _worker = platform.worker();
    platform.gate.until(|counts| counts.begun == 2).await;
    platform.gate.open(1);
    let expected = json!([format!("{id}-1"), format!("{id}-2"), format!("{id}.1")]);
    assert_eq!(result(&platform, id).await, expected);
}

mod on_sqlite {
    use super::*;

    #[tokio::test]
    async fn retry_continues_after_the_steps() {
        super::retry_continues_after_the_steps(embedded().await).await;
    }

    #[tokio::test]
    async fn killed_worker_leaves_its_steps() {
        super::killed_worker_leaves_its_steps(embedded().await).await;
    }

    /// The step is remembered once the store responds.
    #[tokio::test]
    async fn step_waits_for_the_store() {
        let platform = embedded().await;
        platform.break_steps().await;
        let _worker = platform.worker();
        let id = platform.submit("remembers", json!(0)).await;
        platform
            .until("the attempt runs", async || {
                platform.task(id).await.state.status == Status::Executing
            })
            .await;
        platform.repair_store().await;
        platform.gate.open(1);
        assert_eq!(result(&platform, id).await[0], json!(format!("{id}-1")));
    }
}

mod on_postgres {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn retry_continues_after_the_steps() {
        super::retry_continues_after_the_steps(postgres().await).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn killed_worker_leaves_its_steps() {
        super::killed_worker_leaves_its_steps(postgres().await).await;
    }
}
