//! Stopping: what runs may end, what can't is handed back.

use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, Signal};
use miniapp_types::task::{EventType, Status};
use serde_json::json;

use crate::platform::support::{program, program_on, somebody};

miniapp_test_support::on_all_engines!(
    running_tasks_end_before_the_process_does,
    what_takes_too_long_is_handed_back_and_costs_no_attempt,
);

async fn running_tasks_end_before_the_process_does(engines: Engines) {
    let platform = program_on(engines)
        .await
        .set("worker.concurrency", 4)
        .set("worker.replicas", 1)
        .start()
        .await;
    let user = somebody(&platform).await;
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
        let story = user.story(id).await;
        assert_eq!(story.len(), 3 + progress(&story), "{story:?}");
    }
    user.until(waiting, Status::Finished).await;
}

async fn what_takes_too_long_is_handed_back_and_costs_no_attempt(engines: Engines) {
    let program = program_on(engines).await.set("worker.grace", "100ms");
    let platform = program.start().await;
    let user = somebody(&platform).await;
    let id = user.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    user.until(id, Status::Executing).await;
    let ended = platform.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);

    let _platform = ended.program.start().await;
    let task = user.until(id, Status::Executing).await;
    assert_eq!(task.attempt, 1, "{task:?}");
    let story = user.story(id).await;
    let begin = [EventType::Created, EventType::Started, EventType::Released, EventType::Started];
    let story: Vec<_> = story.into_iter().filter(|event| *event != EventType::Progress).collect();
    assert_eq!(story, begin);
    Answer::to(user.api("POST", &format!("/api/tasks/{id}/cancel"))).await.expect(202);
    user.until(id, Status::Canceled).await;
}

#[tokio::test]
async fn ctrl_c_stops_an_idle_platform_without_a_fuss() {
    let platform = program().start().await;
    platform.signal(Signal::INT);
    let ended = platform.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    for word in ["ERROR", "WARN", "panicked"] {
        assert!(!ended.log.contains(word), "{}", ended.log);
    }
}

#[tokio::test]
async fn workers_may_all_be_elsewhere() {
    let platform = program().set("worker.replicas", 0).start().await;
    somebody(&platform).await;
    Answer::to(platform.ask_admin("/readyz")).await.expect(200);
    platform.signal(Signal::INT);
    let ended = platform.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[tokio::test]
async fn ctrl_c_twice_waits_for_nothing() {
    let platform = program().start().await;
    let user = somebody(&platform).await;
    let id = user.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    user.until(id, Status::Executing).await;
    platform.signal(Signal::INT);
    eventually("it has heard the first", async || {
        platform.log().contains("once more stops at once").then_some(())
    })
    .await;
    let ready = platform.ask_admin("/readyz");
    assert_eq!(Answer::to(ready).await.expect(503).text("status"), "stopping");
    platform.signal(Signal::INT);
    let ended = platform.ended().await;
    assert!(ended.status.code().is_some(), "{}", ended.status);

    // Its lease is nobody's any more.
    let _platform = ended.program.start().await;
    eventually("it runs again", async || {
        let story = user.story(id).await;
        let starts = story.iter().filter(|event| **event == EventType::Started).count();
        (starts == 2).then_some(())
    })
    .await;
}

fn progress(story: &[EventType]) -> usize {
    story.iter().filter(|event| **event == EventType::Progress).count()
}
