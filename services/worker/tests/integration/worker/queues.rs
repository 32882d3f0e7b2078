//! Queues of tasks.

use miniapp_broker::{Broker as _, Queue};
use miniapp_types::name::QueueName;
use miniapp_types::task::Status;
use serde_json::json;
use uuid::Uuid;

use crate::worker::platform::Platform;

fn name(text: &str) -> QueueName {
    text.parse().expect("a name")
}

async fn submit(platform: &Platform, queue: &str, kind: &str) -> Uuid {
    platform.submit_with(kind, json!(1), |task| task.queue = name(queue)).await
}

#[tokio::test]
async fn worker_takes_tasks_from_queues_that_appear_while_it_runs() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let default = submit(&platform, "default", "echo").await;
    assert_eq!(platform.ended(default).await.spec.queue, QueueName::default());
    for queue in ["gpu", "mail", "gpu"] {
        let id = submit(&platform, queue, "echo").await;
        let task = platform.ended(id).await;
        assert_eq!((task.state.status, task.spec.queue), (Status::Finished, name(queue)));
    }
}

#[tokio::test]
async fn worker_takes_tasks_from_its_queues_only() {
    let mut platform = Platform::start().await;
    platform.config.queues = vec!["gpu".to_owned()];
    let _worker = platform.worker();
    let others = [
        submit(&platform, "default", "echo").await,
        submit(&platform, "mail", "echo").await,
    ];
    let own = submit(&platform, "gpu", "echo").await;
    assert_eq!(platform.ended(own).await.state.status, Status::Finished);
    for other in others {
        assert_eq!(platform.task(other).await.state.status, Status::Awaiting);
    }
    platform.config.queues = vec!["mail".to_owned(), "default".to_owned()];
    let _other = platform.worker();
    for other in others {
        assert_eq!(platform.ended(other).await.state.status, Status::Finished);
    }
}

#[tokio::test]
async fn task_returns_to_its_queue() {
    let mut platform = Platform::start().await;
    platform.config.queues = vec!["gpu".to_owned()];
    let _worker = platform.worker();
    let id = platform
        .submit_with("flaky", json!({ "failures": 1 }), |task| task.queue = name("gpu"))
        .await;
    let task = platform.ended(id).await;
    assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 2));
    assert_eq!(platform.broker.depth(Queue::Tasks).await.expect("a broker"), 0);
}

#[tokio::test]
async fn busy_queue_does_not_block_others() {
    let mut platform = Platform::start().await;
    platform.config.queues = vec!["gpu".to_owned()];
    platform.config.concurrency = 1;
    let _busy = platform.worker();
    for _ in 0..20 {
        submit(&platform, "gpu", "gate").await;
    }
    platform.gate.until(|counts| counts.begun == 1).await;
    platform.config.queues.clear();
    platform.config.concurrency = 4;
    let _all = platform.worker();
    let id = submit(&platform, "default", "echo").await;
    platform.gate.open(20);
    assert_eq!(platform.ended(id).await.state.status, Status::Finished);
}
