//! Shutdown: running tasks may finish; the others are released.

use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, Signal};
use miniapp_types::task::{EventType, Status};
use serde_json::json;

use crate::platform::support::{new_user, program, program_on};

miniapp_test_support::on_all_engines!(
    shutdown_waits_for_running_tasks,
    shutdown_releases_long_tasks_without_an_attempt,
);

async fn shutdown_waits_for_running_tasks(engines: Engines) {
    let platform = program_on(engines)
        .await
        .set("worker.concurrency", 4)
        .set("worker.replicas", 1)
        .start()
        .await;
    let user = new_user(&platform).await;
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(user.submit("sleep", &json!({ "seconds": 1.5 })).await.task_id);
    }
    for id in &running {
        user.until(*id, Status::Executing).await;
    }
    let waiting = user.submit("echo", &json!("later")).await.task_id;
    let ended = platform.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);

    let _platform = ended.program.start().await;
    for id in running {
        let task = user.task(id).await;
        assert_eq!((task.status, task.attempt), (Status::Finished, 1), "{task:?}");
        let types = user.event_types(id).await;
        assert_eq!(types.len(), 3 + progress(&types), "{types:?}");
    }
    user.until(waiting, Status::Finished).await;
}

async fn shutdown_releases_long_tasks_without_an_attempt(engines: Engines) {
    let program = program_on(engines).await.set("worker.grace", "100ms");
    let platform = program.start().await;
    let user = new_user(&platform).await;
    let id = user.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    user.until(id, Status::Executing).await;
    let ended = platform.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);

    let _platform = ended.program.start().await;
    let task = user.until(id, Status::Executing).await;
    assert_eq!(task.attempt, 1, "{task:?}");
    let types = user.event_types(id).await;
    let begin = [EventType::Created, EventType::Started, EventType::Released, EventType::Started];
    let types: Vec<_> = types.into_iter().filter(|event| *event != EventType::Progress).collect();
    assert_eq!(types, begin);
    user.client().cancel(id).await.expect("a running task");
    user.until(id, Status::Canceled).await;
}

#[tokio::test]
async fn sigint_stops_idle_platform() {
    let platform = program().start().await;
    platform.signal(Signal::INT);
    let ended = platform.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    for word in ["ERROR", "WARN", "panicked"] {
        assert!(!ended.log.contains(word), "{}", ended.log);
    }
}

#[tokio::test]
async fn platform_runs_without_workers() {
    let platform = program().set("worker.replicas", 0).start().await;
    new_user(&platform).await;
    Answer::to(platform.admin_request("/readyz")).await.expect(200);
    platform.signal(Signal::INT);
    let ended = platform.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[tokio::test]
async fn second_sigint_exits_at_once() {
    let platform = program().start().await;
    let user = new_user(&platform).await;
    let id = user.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    user.until(id, Status::Executing).await;
    platform.signal(Signal::INT);
    eventually("the first signal is handled", async || {
        platform.log().contains("a second signal aborts").then_some(())
    })
    .await;
    let ready = platform.admin_request("/readyz");
    assert_eq!(Answer::to(ready).await.expect(503).text("status"), "stopping");
    platform.signal(Signal::INT);
    let ended = platform.ended().await;
    assert!(ended.status.code().is_some(), "{}", ended.status);

    // The lease has been released.
    let _platform = ended.program.start().await;
    eventually("it runs again", async || {
        let types = user.event_types(id).await;
        let starts = types.iter().filter(|event| **event == EventType::Started).count();
        (starts == 2).then_some(())
    })
    .await;
}

fn progress(types: &[EventType]) -> usize {
    types.iter().filter(|event| **event == EventType::Progress).count()
}
