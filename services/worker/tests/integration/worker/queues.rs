//! Queues of tasks.

use miniapp_broker::{Broker as _, Message, Queue};
use miniapp_types::message::TaskReady;
use miniapp_types::name::QueueName;
use miniapp_types::task::{EventType, Status};
use miniapp_worker::kinds::Kinds;
use miniapp_worker::kinds::echo::Echo;
use serde_json::json;
use uuid::Uuid;

use crate::worker::platform::{Platform, Worker};

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
    let others =
        [submit(&platform, "default", "echo").await, submit(&platform, "mail", "echo").await];
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

/// Starts a worker that runs `echo` only.
fn echo_worker(platform: &Platform) -> Worker {
    let mut kinds = Kinds::none();
    kinds.register(Echo);
    platform.worker_of(kinds)
}

#[tokio::test]
async fn task_of_an_unknown_kind_waits_for_its_worker() {
    let platform = Platform::start().await;
    let _other = echo_worker(&platform);
    let reported = async || !platform.tasks.workers().await.expect("a store").is_empty();
    platform.until("the worker is known", reported).await;
    let mut ids = Vec::new();
    for queue in ["default", "gpu"] {
        ids.push(submit(&platform, queue, "gate").await);
    }
    // The other worker continues meanwhile.
    for _ in 0..3 {
        let echo = submit(&platform, "default", "echo").await;
        assert_eq!(platform.ended(echo).await.state.status, Status::Finished);
    }
    for id in &ids {
        let task = platform.task(*id).await;
        assert_eq!((task.state.status, task.state.attempt), (Status::Awaiting, 0));
        assert_eq!(platform.event_types(*id).await, [EventType::Created]);
    }
    let _able = platform.worker();
    platform.gate.open(ids.len());
    for id in ids {
        let task = platform.ended(id).await;
        assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 1));
    }
}

#[tokio::test]
async fn workers_with_different_kinds_share_a_queue() {
    let platform = Platform::start().await;
    let _one = echo_worker(&platform);
    let mut kinds = Kinds::none();
    kinds.register(platform.gate.clone());
    let _other = platform.worker_of(kinds);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(submit(&platform, "default", "echo").await);
        ids.push(submit(&platform, "default", "gate").await);
    }
    platform.gate.open(20);
    for id in ids {
        let task = platform.ended(id).await;
        assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 1));
    }
}

#[tokio::test]
async fn offer_of_an_unknown_kind_returns_to_the_store() {
    let platform = Platform::start().await;
    let _other = echo_worker(&platform);
    let id = submit(&platform, "default", "gate").await;
    let copy = TaskReady::V1 { task_id: id, generation: 1, version: 1, queue: None };
    for _ in 0..3 {
        platform.publish(Message::new(Uuid::new_v4(), &copy)).await;
    }
    platform.queue_is_empty().await;
    let _able = platform.worker();
    platform.gate.open(1);
    let task = platform.ended(id).await;
    assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 1));
}
