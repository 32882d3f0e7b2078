//! Tasks that lost their workers several times run alone.

use std::time::Duration;

use miniapp_tasks::domain::SUSPECT_AFTER;
use miniapp_types::task::EventType::{self, LeaseLost};
use miniapp_types::task::Status;
use serde_json::json;

use crate::worker::platform::Platform;

#[tokio::test]
async fn suspect_runs_alone_and_may_finish() {
    let platform = Platform::start().await;
    let suspect = platform.submit("gate", json!(null)).await;
    for lost in 1..=SUSPECT_AFTER {
        let worker = platform.worker();
        platform.gate.until(|counts| counts.begun == lost).await;
        worker.shutdown.begin();
        worker.shutdown.abort();
        worker.stopped().await;
    }
    let _worker = platform.worker();
    platform.gate.until(|counts| counts.begun == SUSPECT_AFTER + 1).await;
    let others = [platform.submit("echo", json!(1)).await, platform.submit("echo", json!(2)).await];
    // Longer than a start takes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for other in &others {
        assert_eq!(platform.task(*other).await.state.status, Status::Awaiting);
    }
    platform.gate.open(1);
    let task = platform.ended(suspect).await;
    assert_eq!((task.state.status, task.state.lost_leases), (Status::Finished, SUSPECT_AFTER));
    for other in others {
        assert_eq!(platform.ended(other).await.state.status, Status::Finished);
    }
    let lost = |kind: &&EventType| **kind == LeaseLost;
    let story = platform.event_types(suspect).await;
    assert_eq!(story.iter().filter(lost).count(), SUSPECT_AFTER as usize);
}
