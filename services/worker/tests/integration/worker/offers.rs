//! A message is an offer: it is acknowledged when its task is claimed.

use miniapp_broker::{Broker as _, Queue};
use miniapp_types::task::Status;
use serde_json::json;

use crate::worker::platform::Platform;

#[tokio::test]
async fn running_task_holds_no_message() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    let is_settled = async || platform.broker.unsettled(Queue::Tasks) == 0;
    platform.until("the message is acknowledged", is_settled).await;
    platform.queue_is_empty().await;
    assert_eq!(platform.task(id).await.state.status, Status::Executing);
    platform.gate.open(1);
    assert_eq!(platform.ended(id).await.state.attempt, 1);
}

#[tokio::test]
async fn worker_without_free_slots_returns_offers() {
    let mut platform = Platform::start().await;
    platform.config.concurrency = 1;
    let _busy = platform.worker();
    let mut ids = vec![platform.submit("gate", json!(null)).await];
    platform.gate.until(|counts| counts.begun == 1).await;
    for _ in 0..3 {
        ids.push(platform.submit("gate", json!(null)).await);
    }
    let are_returned = async || {
        let depth = platform.broker.depth(Queue::Tasks).await;
        platform.broker.unsettled(Queue::Tasks) == 0 && depth.is_ok_and(|depth| depth == 3)
    };
    platform.until("the offers are returned", are_returned).await;
    // Another worker takes one of them, and the first one continues when its slot is free.
    let _idle = platform.worker();
    platform.gate.until(|counts| counts.begun == 2).await;
    platform.gate.open(4);
    for id in ids {
        let task = platform.ended(id).await;
        assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 1));
    }
    assert_eq!(platform.gate.counts().begun, 4);
}
