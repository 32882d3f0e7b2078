//! Clients that are many, come and go, and lose their tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_types::task::Event;
use miniapp_types::task::EventType::Created;
use uuid::Uuid;

use super::start;
use crate::testing::eventually;

#[tokio::test]
async fn many_events_go_out_together() {
    let (platform, token) = start().await;
    let mut feed = platform.feed(&token).await;
    join_all((0..100).map(|_| platform.submit(&token))).await;
    let last = platform.submit(&token).await;
    let hears = platform.watch(&token, last);
    hears.await.next().await.expect("an event");
    let told = feed.kinds(100).await;
    assert!(told.iter().all(|kind| *kind == Created));
    assert!(feed.pieces < 50, "{} pieces", feed.pieces);
}

/// Clients that come and go while much happens: none misses anything or hears it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_and_goes_hears_everything_once() {
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
    let mut told: Vec<Event> = Vec::new();
    let mut round = 0;
    while told.len() < TASKS * 3 {
        round += 1;
        let mut resumed = platform.feed_after(&token, last).await;
        for _ in 0..(round * 7 % 40 + 1).min(TASKS * 3 - told.len()) {
            let event = resumed.next().await.expect("an event");
            last = event.id;
            told.push(event);
        }
    }
    running.await.expect("no panic");
    let mut by_task: HashMap<Uuid, Vec<Event>> = HashMap::new();
    for event in told {
        by_task.entry(event.task_id).or_default().push(event);
    }
    assert_eq!(by_task.len(), TASKS);
    for (id, events) in by_task {
        assert_eq!(events, platform.timeline(&token, id).await);
    }
    for _ in 0..TASKS * 3 {
        feed.next().await.expect("an event for who stayed");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let (platform, token) = start().await;
    let (id, feed) = platform.told_of(&token).await;
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
async fn a_stream_gives_a_sign_of_life() {
    let (platform, token) = start().await;
    let mut feed = platform.feed(&token).await;
    assert_eq!(feed.piece().await, "retry: 1000\n\n");
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(feed.piece().await, ":\n\n");
    assert!(began.elapsed() >= Duration::from_secs(14));
}

#[tokio::test]
async fn who_leaves_is_forgotten() {
    let (platform, token) = start().await;
    let id = platform.submit(&token).await;
    let streams = (platform.feed(&token).await, platform.watch(&token, id).await);
    assert!(!platform.api.hub.is_idle());
    drop(streams);
    eventually("nobody watches", async || platform.api.hub.is_idle()).await;
}
