//! Tasks across processes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::SignedDuration;
use miniapp_broker::Queue;
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_tasks::domain::POISON_AFTER;
use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Separate, Signal, User, task};
use miniapp_types::task::{EventType, Status};
use serde_json::json;
use uuid::Uuid;

use crate::separate::support::{expect_finished_once, new_user, shared};

/// Reads the stream until the end of `task`.
async fn ends_on(stream: &mut reqwest::Response, task: Uuid) {
    let mut received = String::new();
    while let Some(chunk) = stream.chunk().await.expect("a stream") {
        received.push_str(&String::from_utf8_lossy(&chunk));
        let mut events = received.split("\n\n");
        if events.any(|event| event.contains(&task.to_string()) && event.contains("Finished")) {
            return;
        }
    }
    panic!("the stream ended: {received}");
}

async fn stream_of(user: &User, path: &str) -> reqwest::Response {
    let request = user.api("GET", path).header("accept", "text/event-stream");
    let stream = request.send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    stream
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn tasks_run_on_any_worker_and_show_at_every_api() {
    let broker = shared().await;
    let platform = broker.platform().await;
    let everywhere = new_user(&platform).await;
    let mut streams = join_all(everywhere.iter().map(|user| stream_of(user, "/api/events"))).await;

    let submits = (0..90).map(|number| {
        let user = &everywhere[number % everywhere.len()];
        async move { user.submit("sleep", &json!({ "seconds": 0.2 })).await.task_id }
    });
    let tasks = join_all(submits).await;
    let last = tasks[tasks.len() - 1];
    for stream in &mut streams {
        ends_on(stream, last).await;
    }
    let mut workers = HashSet::new();
    for task in &tasks {
        let task = everywhere[1].until(*task, Status::Finished).await;
        workers.insert(task.worker.expect("a worker"));
    }
    assert_eq!(workers.len(), platform.workers.len(), "{workers:?}");
    // Each task is read at the API that did not accept it.
    let task = everywhere[0].submit("echo", &json!(1)).await.task_id;
    let mut stream = stream_of(&everywhere[1], &format!("/api/tasks/{task}/events")).await;
    ends_on(&mut stream, task).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn cancel_reaches_running_worker() {
    let broker = shared().await;
    let platform = broker.platform().await;
    let everywhere = new_user(&platform).await;
    for _ in 0..6 {
        let task = everywhere[0].submit("sleep", &json!({ "seconds": 50 })).await.task_id;
        everywhere[0].until(task, Status::Executing).await;
        let cancel = everywhere[1].api("POST", &format!("/api/tasks/{task}/cancel"));
        Answer::to(cancel).await.expect(202);
        let since = Instant::now();
        everywhere[1].until(task, Status::Canceled).await;
        // The renewal of leases would notice it within five seconds.
        assert!(since.elapsed() < Duration::from_secs(2), "took {:?}", since.elapsed());
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn tasks_of_dead_or_frozen_worker_run_again() {
    let broker = shared().await;
    let program = broker.program().set("worker.lease", "3s");
    let mut platform = Separate::start(&program, 1, 2).await;
    let user = new_user(&platform).await.remove(0);
    let sleeps = (0..20).map(async |_| user.submit("sleep", &json!({ "seconds": 2 })).await);
    let tasks: Vec<Uuid> = join_all(sleeps).await.into_iter().map(|task| task.task_id).collect();
    for task in &tasks {
        user.until(*task, Status::Executing).await;
    }
    platform.workers[0].signal(Signal::STOP);
    platform.workers[1].kill().await;
    platform.workers[1].start_again().await;
    let sleeper = &platform.workers[0];
    for task in &tasks {
        user.until(*task, Status::Finished).await;
    }
    sleeper.signal(Signal::CONT);
    // It has lost its claims, but not the messages it receives next.
    let next = (0..10).map(async |number| user.submit("echo", &json!(number)).await);
    for task in join_all(next).await {
        user.until(task.task_id, Status::Finished).await;
    }
    // Its outcomes for them came too late.
    expect_finished_once(&user, &tasks).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn task_that_kills_its_worker_each_time_fails() {
    let broker = shared().await;
    let program = broker.program().set("worker.lease", "2s");
    let mut platform = Separate::start(&program, 1, 1).await;
    let user = new_user(&platform).await.remove(0);
    let poison = user.submit("sleep", &json!({ "seconds": 50 })).await.task_id;
    let other = user.submit("sleep", &json!({ "seconds": 5 })).await.task_id;
    for life in 1..=POISON_AFTER as usize {
        eventually("the task runs", async || {
            let starts = user.event_types(poison).await;
            let starts = starts.iter().filter(|event| **event == EventType::Started).count();
            (starts == life).then_some(())
        })
        .await;
        // Like the kernel when memory runs out. Three times prove nothing.
        platform.workers[0].kill().await;
        platform.workers[0].start_again().await;
        // Other tasks on that worker end before it is killed again.
        if life == 1 {
            user.until(other, Status::Finished).await;
        }
    }
    let failed = user.until(poison, Status::Failed).await;
    assert_eq!(failed.error.expect("an error").code, "lease_lost");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn delayed_tasks_occupy_no_worker() {
    const LATER: usize = 500;
    let broker = shared().await;
    let program = broker.program().set("worker.concurrency", 2);
    let platform = Separate::start(&program, 1, 1).await;
    let user = new_user(&platform).await.remove(0);
    let later = SystemClock.now() + SignedDuration::from_hours(1);
    let submits = (0..LATER).map(async |number| {
        let mut body = task("echo", &json!(number));
        body["runAt"] = json!(later);
        user.try_submit(&body).await.expect("an answer").expect(201);
    });
    join_all(submits).await;
    for number in 0..20 {
        let now = user.submit("echo", &json!(number)).await.task_id;
        user.until(now, Status::Finished).await;
    }
    // Delayed tasks wait in the store.
    assert_eq!(broker.client().depth(Queue::Tasks).await.expect("a queue"), 0);
    let count = user.count_by_status().await;
    assert_eq!(count.get(&Status::Awaiting), Some(&LATER));
}
