//! Machines with clocks that differ by minutes. The clock of the database decides.
#![cfg(target_os = "linux")]

use futures_util::future::join_all;
use jiff::SignedDuration;
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_test_support::platform::{Program, Separate, task};
use miniapp_types::task::{EventType, Status};
use serde_json::json;

use crate::separate::support::{expect_all_working, expect_finished_once, new_user, shared};

const MINUTE: i64 = 60;

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn leases_and_tokens_tolerate_clock_skew() {
    let broker = shared().await;
    // Shorter than the difference of the clocks: a service that used its own clock would expire the
    // leases and reject the tokens of others.
    let program = broker.program().set("worker.lease", "3s").set("auth.access_ttl", "2m");
    let mut platform = Separate::start(&program, 2, 2).await;
    let ahead_by = |minutes: i64| move |program: Program| program.ahead_by(minutes * MINUTE);
    platform.auth.replace(ahead_by(5)).await;
    platform.apis[0].replace(ahead_by(-7)).await;
    platform.apis[1].replace(ahead_by(11)).await;
    platform.workers[0].replace(ahead_by(-13)).await;
    platform.workers[1].replace(ahead_by(17)).await;
    let directions = ["ahead of", "behind", "ahead of", "behind", "ahead of"];
    for ((service, direction), minutes) in
        platform.services().zip(directions).zip([5, 7, 11, 13, 17])
    {
        let (log, seconds) = (service.log(), format!(":{}", minutes * MINUTE));
        let message = format!("clock is {direction} the database's");
        let mut lines = log.lines().filter(|line| line.contains(&message));
        assert!(lines.any(|line| line.contains(&seconds)), "{message} by {minutes} min: {log}");
    }

    let everywhere = new_user(&platform).await;
    // Longer than three lease times, on both workers.
    let sleeps = (0..40).map(async |number| {
        let user = &everywhere[number % 2];
        user.submit("sleep", &json!({ "seconds": 9 })).await.task_id
    });
    let began = SystemClock.now();
    let tasks = join_all(sleeps).await;
    let mut later = task("echo", &json!(1));
    later["runAt"] = json!(began + SignedDuration::from_secs(6));
    let later = everywhere[0].try_submit(&later).await.expect("an answer").expect(201);
    let later =
        everywhere[1].until(later.text("taskId").parse().expect("a UUID"), Status::Finished);
    let later = later.await;
    let began_after = later.execution_started_at.expect("a start").duration_since(began);
    assert!((6..30).contains(&began_after.as_secs()), "{began_after} after");

    expect_finished_once(&everywhere[1], &tasks).await;
    for task in &tasks {
        let timeline = everywhere[0].timeline(*task).await;
        let lost = timeline.iter().any(|event| event.kind == EventType::LeaseLost);
        assert!(!lost, "{timeline:?}");
        assert!(timeline.iter().all(|event| {
            let apart = event.at.duration_since(began).as_secs();
            (-2..MINUTE).contains(&apart)
        }));
    }
    for user in &everywhere {
        user.client().stats().await.expect("statistics");
    }
    expect_all_working(&mut platform).await;
}
