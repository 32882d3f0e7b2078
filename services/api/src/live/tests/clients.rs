//! Many clients, reconnecting clients, and clients whose tokens end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_types::task::Event;
use miniapp_types::task::EventType::Created;
use uuid::Uuid;

use super::start;
use crate::testing::{STREAMS, STREAMS_PER_ACCOUNT, eventually};

#[tokio::test]
async fn events_are_batched_into_frames() {
    let (platform, token) = start().await;
    let mut feed = platform.feed(&token).await;
    join_all((0..100).map(|_| platform.submit(&token))).await;
    let last = platform.submit(&token).await;
    let watch = platform.watch(&token, last);
    watch.await.next().await.expect("an event");
    let received = feed.kinds(100).await;
    assert!(received.iter().all(|kind| *kind == Created));
    assert!(feed.frames < 50, "{} frames", feed.frames);
}

/// A client that reconnects during many changes receives every event exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_client_receives_every_event_once() {
    const TASKS: usize = 150;
    let (platform, token) = start().await;
    let platform = Arc::new(platform);
    let mut feed = platform.feed(&token).await;
    let begin = platform.run_to_its_end(&token).await;
    let begin = platform.timeline(&token, begin).await;
    for event in &begin {
        assert_eq!(feed.next().await.as_ref(), Some(event));
    }
    let mut last = begin[2].id;
    let running = tokio::spawn({
        let (platform, token) = (platform.clone(), token.clone());
        async move {
            for _ in 0..TASKS / 10 {
                join_all((0..10).map(|_| platform.run_to_its_end(&token))).await;
            }
        }
    });
    let mut received: Vec<Event> = Vec::new();
    let mut round = 0;
    while received.len() < TASKS * 3 {
        round += 1;
        let mut resumed = platform.feed_after(&token, last).await;
        for _ in 0..(round * 7 % 40 + 1).min(TASKS * 3 - received.len()) {
            let event = resumed.next().await.expect("an event");
            last = event.id;
            received.push(event);
        }
    }
    running.await.expect("no panic");
    let mut by_task: HashMap<Uuid, Vec<Event>> = HashMap::new();
    for event in received {
        by_task.entry(event.task_id).or_default().push(event);
    }
    assert_eq!(by_task.len(), TASKS);
    for (id, events) in by_task {
        assert_eq!(events, platform.timeline(&token, id).await);
    }
    for _ in 0..TASKS * 3 {
        feed.next().await.expect("an event for the connected client");
    }
}

#[tokio::test]
async fn stream_ends_with_its_token() {
    let (platform, token) = start().await;
    let (id, feed) = platform.submit_observed(&token).await;
    let mut watch = platform.watch(&token, id).await;
    watch.next().await.expect("an event");
    platform.auth.sign_out(&token).await;
    assert_eq!(feed.rest().await, []);
    assert_eq!(watch.rest().await, []);

    let token = platform.auth.sign_in();
    let feed = platform.feed(&token).await;
    platform.auth.refresh(&token).await;
    assert_eq!(feed.rest().await, []);

    let token = platform.auth.sign_in();
    let feed = platform.feed(&token).await;
    platform.clock.advance(Duration::from_secs(901));
    assert_eq!(feed.rest().await, []);
}

#[tokio::test]
async fn stream_sends_keep_alives() {
    let (platform, token) = start().await;
    let mut feed = platform.feed(&token).await;
    assert_eq!(feed.frame().await, "retry: 1000\n\n");
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(feed.frame().await, ":\n\n");
    assert!(began.elapsed() >= Duration::from_secs(14));
}

#[tokio::test]
async fn closed_streams_are_unsubscribed() {
    let (platform, token) = start().await;
    let id = platform.submit(&token).await;
    let streams = (platform.feed(&token).await, platform.watch(&token, id).await);
    assert!(!platform.api.live.hub.is_idle());
    drop(streams);
    eventually("the hub is idle", async || platform.api.live.hub.is_idle()).await;
}

#[tokio::test]
async fn streams_are_limited_per_account_and_listener() {
    let (platform, token) = start().await;
    let path = "/api/events";
    let mut feeds = Vec::new();
    for _ in 0..STREAMS_PER_ACCOUNT {
        feeds.push(platform.feed(&token).await);
    }
    let answer = platform.get(path).token(&token).send().await;
    assert_eq!((answer.status(), answer.header("retry-after")), (429, "1"));
    assert_eq!(answer.json()["code"], "too_many_requests");
    let other = platform.auth.sign_in();
    for _ in STREAMS_PER_ACCOUNT..STREAMS {
        feeds.push(platform.feed(&other).await);
    }
    let third = platform.auth.sign_in();
    let answer = platform.get(path).token(&third).send().await;
    assert_eq!((answer.status(), answer.header("retry-after")), (503, "1"));
    // A stream that ends makes room.
    feeds.remove(0);
    platform.feed(&third).await;
}
