//! Outages of the broker and the store.

use std::time::Duration;

use miniapp_types::task::EventType::{Created, Finished, Released, Started};
use miniapp_types::task::Status;
use serde_json::json;

use crate::worker::platform::Platform;

#[tokio::test]
async fn broker_outage_loses_no_tasks() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let running = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    platform.broker.pause();
    let waiting = platform.submit("gate", json!(null)).await;
    platform.gate.open(1);
    assert_eq!(platform.ended(running).await.state.status, Status::Finished);
    platform.broker.resume();
    platform.gate.open(1);
    assert_eq!(platform.ended(waiting).await.state.status, Status::Finished);
    assert_eq!(platform.event_types(running).await, [Created, Started, Finished]);
    assert_eq!(platform.gate.counts().begun, 2);
}

#[tokio::test]
async fn worker_starts_without_a_broker() {
    let platform = Platform::start().await;
    platform.broker.pause();
    let _worker = platform.worker();
    let id = platform.submit("echo", json!(1)).await;
    platform.broker.resume();
    assert_eq!(platform.ended(id).await.state.status, Status::Finished);
}

#[tokio::test]
async fn outcome_is_committed_after_a_store_outage() {
    let mut platform = Platform::start().await;
    platform.config.lease = Duration::from_secs(30);
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;

    platform.break_store().await;
    platform.gate.open(1);
    platform.gate.until(|counts| counts.ended == 1).await;
    // Enough for several commits, which fail.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(platform.task(id).await.state.status, Status::Executing);
    platform.repair_store().await;

    assert_eq!(platform.ended(id).await.state.status, Status::Finished);
    assert_eq!(platform.event_types(id).await, [Created, Started, Finished]);
}

#[tokio::test]
async fn attempt_stops_when_its_lease_cannot_be_renewed() {
    let mut platform = Platform::start().await;
    platform.config.lease = Duration::from_secs(1);
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;

    platform.break_store().await;
    platform.gate.until(|counts| counts.stopped == 1).await;
    platform.repair_store().await;

    platform.gate.open(1);
    let task = platform.ended(id).await;
    // It was returned before its lease counted as lost.
    assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 1));
    assert_eq!(platform.event_types(id).await, [Created, Started, Released, Started, Finished]);
}
