//! Clocks that are set while tasks run and wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::{Clock, SystemClock};
use miniapp_test_support::postgres::Server;
use miniapp_types::task::EventType::{Created, Finished, LeaseLost, Retrying, Started};
use miniapp_types::task::Status;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::worker::platform::Platform;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const BACK: [SignedDuration; 3] = [
    SignedDuration::from_hours(-1),
    SignedDuration::from_hours(-24),
    SignedDuration::from_hours(-24 * 365),
];

/// The system clock, which tests can set.
#[derive(Debug, Default)]
struct Steps(AtomicI64);

impl Steps {
    fn step(&self, by: SignedDuration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).expect("in range"), Ordering::SeqCst);
    }
}

impl Clock for Steps {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_micros(self.0.load(Ordering::SeqCst))
    }
}

async fn embedded() -> (Platform, Arc<Steps>) {
    let clock = Arc::new(Steps::default());
    (Platform::with_clock(clock.clone()).await, clock)
}

async fn postgres() -> (Platform, Arc<Steps>) {
    let clock = Arc::new(Steps::default());
    let database = Server::shared().await.settings().await.expect("a database");
    (Platform::on(database, clock.clone()).await, clock)
}

/// As many steps as a task may lose leases, and more.
async fn forward_steps_do_not_restart_a_running_task((platform, clock): (Platform, Arc<Steps>)) {
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    for _ in 0..8 {
        clock.step(MINUTE);
        sleep(Duration::from_millis(700)).await;
    }
    platform.gate.open(1);
    let task = platform.ended(id).await;
    assert_eq!((task.state.status, task.state.lost_leases), (Status::Finished, 0));
    assert_eq!(platform.event_types(id).await, [Created, Started, Finished]);
}

async fn retry_waits_its_time_after_a_backward_step((platform, clock): (Platform, Arc<Steps>)) {
    let _worker = platform.worker();
    for back in BACK {
        let id = platform.submit("flaky", json!({ "failures": 1 })).await;
        let waits = async || platform.event_types(id).await.contains(&Retrying);
        platform.until("it waits for its retry", waits).await;
        clock.step(back);
        let began = Instant::now();
        let task = platform.ended(id).await;
        assert_eq!(task.state.status, Status::Finished);
        // The delay is at most a second, and the step is noticed after at most another one.
        assert!(began.elapsed() < Duration::from_secs(5), "{back}: {:?}", began.elapsed());
    }
}

async fn submitted_task_runs_after_a_backward_step((platform, clock): (Platform, Arc<Steps>)) {
    for back in BACK {
        // Its message is lost with the broker's queue, or still to be sent.
        let id = platform.submit("echo", json!(1)).await;
        clock.step(back);
        let worker = platform.worker();
        assert_eq!(platform.ended(id).await.state.status, Status::Finished);
        worker.shutdown.begin();
        worker.stopped().await;
    }
}

async fn crashed_worker_is_found_after_a_backward_step((platform, clock): (Platform, Arc<Steps>)) {
    for (back, begun) in BACK.into_iter().zip([1, 3, 5]) {
        let worker = platform.worker();
        let id = platform.submit("gate", json!(null)).await;
        platform.gate.until(|counts| counts.begun == begun).await;
        worker.shutdown.begin();
        worker.shutdown.abort();
        worker.stopped().await;
        clock.step(back);
        let next = platform.worker();
        platform.gate.until(|counts| counts.begun == begun + 1).await;
        platform.gate.open(1);
        assert_eq!(platform.ended(id).await.state.status, Status::Finished);
        let expected = [Created, Started, LeaseLost, Started, Finished];
        assert_eq!(platform.event_types(id).await, expected);
        next.shutdown.begin();
        next.stopped().await;
    }
}

async fn crashed_worker_is_found_during_forward_steps((platform, clock): (Platform, Arc<Steps>)) {
    let worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    worker.shutdown.begin();
    worker.shutdown.abort();
    worker.stopped().await;
    let _next = platform.worker();
    let stepping = async {
        loop {
            clock.step(MINUTE);
            sleep(Duration::from_millis(400)).await;
        }
    };
    tokio::select! {
        () = stepping => {}
        () = platform.gate.until(|counts| counts.begun == 2) => {}
    }
    platform.gate.open(1);
    assert_eq!(platform.ended(id).await.state.status, Status::Finished);
}

async fn workers_of_the_future_are_not_live((platform, clock): (Platform, Arc<Steps>)) {
    let worker = platform.worker();
    let count = async || platform.tasks.workers().await.expect("a store").len();
    platform.until("it is live", async || count().await == 1).await;
    worker.shutdown.begin();
    worker.shutdown.abort();
    worker.stopped().await;
    clock.step(BACK[0]);
    assert_eq!(count().await, 0);
}

/// Makes a test of each function, for each database.
macro_rules! tests {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::embedded().await).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            #[ignore = "needs PostgreSQL"]
            async fn $case() {
                super::$case(super::postgres().await).await;
            })*
        }
    };
}

tests! {
    forward_steps_do_not_restart_a_running_task,
    retry_waits_its_time_after_a_backward_step,
    submitted_task_runs_after_a_backward_step,
    crashed_worker_is_found_after_a_backward_step,
    crashed_worker_is_found_during_forward_steps,
    workers_of_the_future_are_not_live,
}
