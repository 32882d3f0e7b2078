//! Streams deliver the events of tasks and accounts in order.

use http::Method;
use miniapp_types::task::EventType::{Created, Deleted, Finished, Restarted, Started};

use super::{kinds, start};

#[tokio::test]
async fn task_stream_covers_the_whole_task() {
    let (platform, token) = start().await;
    let id = platform.submit(&token).await;
    let mut live = platform.watch(&token, id).await;
    assert_eq!(live.kinds(1).await, [Created]);
    platform.finish(&token, id).await;
    let rest = live.rest().await;
    assert_eq!(kinds(&rest), [Started, Finished]);
    assert!(rest.iter().all(|event| event.task_id == id));
    let late = platform.watch(&token, id).await.rest().await;
    assert_eq!(late, platform.timeline(&token, id).await);
}

#[tokio::test]
async fn stream_resumes_after_the_last_event() {
    let (platform, token) = start().await;
    let id = platform.run_to_its_end(&token).await;
    let events = platform.timeline(&token, id).await;
    for (index, last) in events.iter().enumerate().take(2) {
        let rest = platform.watch_after(&token, id, last.id).await.rest().await;
        assert_eq!(rest, events[index + 1..]);
    }
    let path = format!("/api/tasks/{id}/events");
    let request = platform.get(&path).token(&token).header("accept", "text/event-stream");
    let ended = request.header("last-event-id", &events[2].id.to_string()).send().await;
    assert_eq!((ended.status(), ended.body()), (204, ""));
}

#[tokio::test]
async fn stream_ends_with_the_newest_generation() {
    let (platform, token) = start().await;
    let id = platform.run_to_its_end(&token).await;
    platform.tasks.restart(token.user, id).await.expect("restarted");
    let mut live = platform.watch(&token, id).await;
    assert_eq!(live.kinds(4).await, [Created, Started, Finished, Restarted]);
    platform.finish(&token, id).await;
    assert_eq!(kinds(&live.rest().await), [Started, Finished]);
}

#[tokio::test]
async fn deleted_task_ends_its_stream() {
    let (platform, token) = start().await;
    let id = platform.submit(&token).await;
    let mut live = platform.watch(&token, id).await;
    let created = live.next().await.expect("an event");
    let path = format!("/api/tasks/{id}");
    platform.request(Method::DELETE, &path).token(&token).send().await;
    assert_eq!(kinds(&live.rest().await), [Deleted]);
    let missed = platform.watch_after(&token, id, created.id).await.rest().await;
    assert_eq!(kinds(&missed), [Deleted]);
    let path = format!("{path}/events");
    let request = platform.get(&path).token(&token).header("accept", "text/event-stream");
    assert_eq!(request.send().await.problem(), (404, "task_not_found".to_owned()));
}

#[tokio::test]
async fn feed_contains_only_own_events() {
    let (platform, token) = start().await;
    let other = platform.auth.sign_in();
    let (before, mut feed) = platform.submit_observed(&token).await;
    platform.finish(&token, before).await;
    assert_eq!(feed.kinds(2).await, [Started, Finished]);
    let mut live = platform.feed(&token).await;
    platform.run_to_its_end(&other).await;
    let first = platform.run_to_its_end(&token).await;
    let second = platform.submit(&token).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(live.next().await.expect("an event"));
    }
    assert_eq!(kinds(&seen), [Created, Started, Finished, Created]);
    assert!(seen[..3].iter().all(|event| event.task_id == first));
    assert_eq!(seen[3].task_id, second);
    let mut resumed = platform.feed_after(&token, seen[0].id).await;
    for expected in &seen[1..] {
        assert_eq!(resumed.next().await.as_ref(), Some(expected));
    }
    platform.finish(&token, second).await;
    assert_eq!(resumed.kinds(2).await, [Started, Finished]);
    assert_eq!(live.kinds(2).await, [Started, Finished]);
}

#[tokio::test]
async fn stored_events_are_sent_in_frames_of_64_kib() {
    const LIMIT: usize = 65 * 1024;
    let (platform, token) = start().await;
    let id = platform.run_to_its_end(&token).await;
    for _ in 0..300 {
        platform.tasks.restart(token.user, id).await.expect("restarted");
        platform.finish(&token, id).await;
    }
    let events = platform.timeline(&token, id).await;
    assert!(serde_json::to_string(&events).expect("JSON").len() > 2 * LIMIT);

    let mut live = platform.watch(&token, id).await;
    for expected in &events {
        assert_eq!(live.next().await.as_ref(), Some(expected));
        assert!(live.text.len() < LIMIT, "{}", live.text.len());
    }
    assert!(live.frames > 2);
    assert_eq!(live.next().await, None);

    let mut feed = platform.feed_after(&token, events[0].id).await;
    for expected in &events[1..] {
        assert_eq!(feed.next().await.as_ref(), Some(expected));
        assert!(feed.text.len() < LIMIT, "{}", feed.text.len());
    }
}

#[tokio::test]
async fn stream_of_a_long_timeline_resumes_anywhere() {
    let (platform, token) = start().await;
    let id = platform.run_to_its_end(&token).await;
    for _ in 0..400 {
        platform.tasks.restart(token.user, id).await.expect("restarted");
        platform.finish(&token, id).await;
    }
    let events = platform.timeline(&token, id).await;
    for place in (0..events.len() - 1).step_by(83) {
        let rest = platform.watch_after(&token, id, events[place].id).await.rest().await;
        assert_eq!(rest, events[place + 1..], "after {place}");
    }
    let path = format!("/api/tasks/{id}/events");
    let request = platform.get(&path).token(&token).header("accept", "text/event-stream");
    let last = events.last().expect("events").id.to_string();
    let ended = request.header("last-event-id", &last).send().await;
    assert_eq!((ended.status(), ended.body()), (204, ""));
    let document = platform.get(&path).token(&token).send().await.json();
    assert_eq!(document, serde_json::json!({ "events": events }));
}

#[tokio::test]
async fn replay_ends_with_its_token() {
    let (platform, token) = start().await;
    let id = platform.run_to_its_end(&token).await;
    for _ in 0..400 {
        platform.tasks.restart(token.user, id).await.expect("restarted");
        platform.finish(&token, id).await;
    }
    let first = platform.timeline(&token, id).await[0].id;
    let mut watch = platform.watch(&token, id).await;
    let mut feed = platform.feed_after(&token, first).await;
    watch.next().await.expect("an event");
    feed.next().await.expect("an event");
    platform.auth.sign_out(&token).await;
    // Tokens are validated again at an interval.
    crate::testing::skip(std::time::Duration::from_secs(1)).await;
    let rest = [watch.rest().await.len(), feed.rest().await.len()];
    assert!(rest.iter().all(|rest| *rest < 400), "{rest:?}");
}
