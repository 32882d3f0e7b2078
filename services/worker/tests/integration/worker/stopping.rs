//! Stopping attempts and workers.

use std::time::Duration;

use miniapp_broker::Queue;
use miniapp_types::task::EventType::{
    CancelRequested, Canceled, Created, Finished, LeaseLost, Released, Restarted, Started,
};
use miniapp_types::task::Status;
use serde_json::json;

use crate::worker::platform::Platform;

#[tokio::test]
async fn attempt_is_stopped_at_its_ttl() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit_with("gate", json!(null), |task| task.ttl = 1).await;
    let task = platform.ended(id).await;
    assert_eq!(task.state.status, Status::Canceled);
    assert_eq!(task.state.message.as_deref(), Some("TTL is shorter than the execution time"));
    assert_eq!(platform.event_types(id).await, [Created, Started, Canceled]);
    assert_eq!(platform.gate.counts().stopped, 1);
}

#[tokio::test]
async fn cancel_stops_the_running_attempt() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    platform.cancel(id).await;
    platform.gate.until(|counts| counts.stopped == 1).await;
    assert_eq!(platform.ended(id).await.state.status, Status::Canceled);
    assert_eq!(platform.event_types(id).await, [Created, Started, CancelRequested, Canceled]);
}

#[tokio::test]
async fn code_that_ignores_the_stop_is_dropped() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("stubborn", json!(null)).await;
    let runs = async || platform.task(id).await.state.status == Status::Executing;
    platform.until("it runs", runs).await;
    platform.cancel(id).await;
    assert_eq!(platform.ended(id).await.state.status, Status::Canceled);
}

#[tokio::test]
async fn blocking_code_is_stopped() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("hash", json!({ "rounds": u32::MAX })).await;
    let progresses = async || platform.task(id).await.state.progress > 0.0;
    platform.until("it progresses", progresses).await;
    platform.cancel(id).await;
    assert_eq!(platform.ended(id).await.state.status, Status::Canceled);
}

#[tokio::test]
async fn lost_cancel_is_returned_by_lease_renewal() {
    let mut platform = Platform::start().await;
    platform.config.concurrency = 1;
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    platform.broker.pause();
    platform.cancel(id).await;
    platform.gate.until(|counts| counts.stopped == 1).await;
    assert_eq!(platform.ended(id).await.state.status, Status::Canceled);
}

#[tokio::test]
async fn restarted_task_runs_to_completion() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    platform.cancel(id).await;
    platform.ended(id).await;
    platform.restart(id).await;
    platform.gate.open(1);
    let task = platform.ended(id).await;
    assert_eq!((task.state.status, task.state.generation), (Status::Finished, 2));
    let story = platform.event_types(id).await;
    assert_eq!(story[4..], [Restarted, Started, Finished]);
}

#[tokio::test]
async fn attempt_without_lease_stops_and_commits_nothing() {
    let platform = Platform::start().await;
    let worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    platform.expire_leases().await;
    platform.gate.until(|counts| counts.stopped == 1).await;
    worker.shutdown.begin();
    worker.stopped().await;
    let task = platform.task(id).await;
    assert_eq!((task.state.status, task.state.lost_leases), (Status::Awaiting, 1));
    assert_eq!(platform.event_types(id).await, [Created, Started, LeaseLost]);
}

#[tokio::test]
async fn worker_waits_for_running_tasks() {
    let platform = Platform::start().await;
    let worker = platform.worker();
    let running = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    worker.shutdown.begin();
    let waiting = platform.submit("gate", json!(null)).await;
    platform.gate.open(1);
    worker.stopped().await;
    assert_eq!(platform.task(running).await.state.status, Status::Finished);
    assert_eq!(platform.task(waiting).await.state.status, Status::Awaiting);

    let _next = platform.worker();
    platform.gate.open(1);
    assert_eq!(platform.ended(waiting).await.state.status, Status::Finished);
}

#[tokio::test]
async fn tasks_are_released_after_the_grace_period() {
    let mut platform = Platform::start().await;
    platform.config.grace = Duration::from_millis(50);
    let worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    worker.shutdown.begin();
    worker.stopped().await;
    let task = platform.task(id).await;
    assert_eq!((task.state.status, task.state.attempt), (Status::Awaiting, 0));
    assert_eq!(platform.event_types(id).await, [Created, Started, Released]);
    // It is offered again at once.
    platform.wait_for_depth(Queue::Tasks, 1).await;

    let _next = platform.worker();
    platform.gate.open(1);
    let task = platform.ended(id).await;
    assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 1));
}

#[tokio::test]
async fn second_signal_aborts() {
    let platform = Platform::start().await;
    let worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    worker.shutdown.begin();
    worker.shutdown.abort();
    worker.stopped().await;
    assert_eq!(platform.task(id).await.state.status, Status::Executing);
}
