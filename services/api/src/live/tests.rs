//! Streams, as clients see them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker as _, Message, Received, Topic};
use contracts::message::TaskEvents;
use contracts::task::Event;
use contracts::task::EventType::{self, Created, Deleted, Finished, Progress, Restarted, Started};
use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use uuid::Uuid;

use crate::testing::{Events, Platform, Token, eventually};

async fn start() -> (Platform, Token) {
    let platform = Platform::start().await;
    let token = platform.auth.sign_in();
    (platform, token)
}

impl Platform {
    async fn watch(&self, token: &Token, id: Uuid) -> Events {
        self.get(&format!("/api/tasks/{id}/events")).token(token).stream().await
    }

    async fn watch_after(&self, token: &Token, id: Uuid, last: Uuid) -> Events {
        let asking = self.get(&format!("/api/tasks/{id}/events")).token(token);
        asking.header("last-event-id", &last.to_string()).stream().await
    }

    async fn feed(&self, token: &Token) -> Events {
        self.get("/api/events").token(token).stream().await
    }

    async fn feed_after(&self, token: &Token, last: Uuid) -> Events {
        let asking = self.get("/api/events").token(token);
        asking.header("last-event-id", &last.to_string()).stream().await
    }

    async fn timeline(&self, token: &Token, id: Uuid) -> Vec<Event> {
        self.tasks.timeline(token.user, id).await.expect("a store").expect("a task")
    }

    /// A waiting task, and the feed that has told of it: no word of it is on its way.
    async fn told_of(&self, token: &Token) -> (Uuid, Events) {
        let mut feed = self.feed(token).await;
        let id = self.submit(token).await;
        assert_eq!(feed.kinds(1).await, [Created]);
        (id, feed)
    }

    async fn run_to_its_end(&self, token: &Token) -> Uuid {
        let id = self.submit(token).await;
        self.finish(token, id).await;
        id
    }
}

fn kinds(events: &[Event]) -> Vec<EventType> {
    events.iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn a_task_is_watched_from_its_beginning_to_its_end() {
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
async fn a_stream_goes_on_where_it_was_cut() {
    let (platform, token) = start().await;
    let id = platform.run_to_its_end(&token).await;
    let events = platform.timeline(&token, id).await;
    for (index, last) in events.iter().enumerate().take(2) {
        let rest = platform.watch_after(&token, id, last.id).await.rest().await;
        assert_eq!(rest, events[index + 1..]);
    }
    let path = format!("/api/tasks/{id}/events");
    let asking = platform.get(&path).token(&token).header("accept", "text/event-stream");
    let ended = asking.header("last-event-id", &events[2].id.to_string()).send().await;
    assert_eq!((ended.status(), ended.body()), (204, ""));
}

#[tokio::test]
async fn the_newest_generation_ends_the_stream() {
    let (platform, token) = start().await;
    let id = platform.run_to_its_end(&token).await;
    platform.tasks.restart(token.user, id).await.expect("restarted");
    let mut live = platform.watch(&token, id).await;
    assert_eq!(live.kinds(4).await, [Created, Started, Finished, Restarted]);
    platform.finish(&token, id).await;
    assert_eq!(kinds(&live.rest().await), [Started, Finished]);
}

#[tokio::test]
async fn a_removed_task_says_so_once() {
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
    let asking = platform.get(&path).token(&token).header("accept", "text/event-stream");
    assert_eq!(asking.send().await.problem(), (404, "task_not_found".to_owned()));
}

#[tokio::test]
async fn everything_of_ones_own_is_told_and_nothing_else() {
    let (platform, token) = start().await;
    let other = platform.auth.sign_in();
    let (before, mut feed) = platform.told_of(&token).await;
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
async fn an_outage_of_the_broker_loses_nothing() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.told_of(&token).await;
    let mut live = platform.watch(&token, id).await;
    assert_eq!(live.kinds(1).await, [Created]);
    platform.broker.pause();
    let silent = platform.silent_tasks().await;
    let during = silent.cancel(token.user, id).await.expect("canceled").id;
    platform.broker.resume();
    let rest = live.rest().await;
    assert_eq!(rest.len(), 1);
    assert_eq!(feed.next().await.as_ref(), rest.first());
    assert_eq!(during, id);
    platform.run_to_its_end(&token).await;
    assert_eq!(feed.kinds(3).await, [Created, Started, Finished]);
}

#[tokio::test]
async fn what_the_news_had_to_leave_out_is_read() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.told_of(&token).await;
    let mut live = platform.watch(&token, id).await;
    assert_eq!(live.kinds(1).await, [Created]);
    let silent = platform.silent_tasks().await;
    silent.cancel(token.user, id).await.expect("canceled");
    let nothing = Message::new(Uuid::new_v4(), &TaskEvents::V1 { events: Vec::new() });
    platform.broker.broadcast(Topic::TaskEvents, nothing).await.expect("told");
    let rest = live.rest().await;
    assert_eq!(kinds(&rest), [EventType::Canceled]);
    assert_eq!(feed.next().await.as_ref(), rest.first());
}

#[tokio::test]
async fn news_that_come_twice_are_told_once() {
    let (platform, token) = start().await;
    let mut ear = platform.broker.subscribe(Topic::TaskEvents).await.expect("an ear");
    let mut feed = platform.feed(&token).await;
    platform.run_to_its_end(&token).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let Some(Received::Message(message)) = ear.next().await else { panic!("no message") };
        let TaskEvents::V1 { events } = message.read().expect("events");
        seen.extend(events);
        platform.broker.broadcast(Topic::TaskEvents, message).await.expect("told");
        // Its own echo.
        ear.next().await;
    }
    let second = platform.submit(&token).await;
    let told = [feed.kinds(3).await, feed.kinds(1).await].concat();
    assert_eq!(told, [Created, Started, Finished, Created]);
    platform.finish(&token, second).await;
    assert_eq!(feed.kinds(2).await, [Started, Finished]);
}

#[tokio::test]
async fn unreadable_news_make_streams_read_the_store() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.told_of(&token).await;
    platform.silent_tasks().await.cancel(token.user, id).await.expect("canceled");
    let later = Message::new(Uuid::new_v4(), &json!({"v": "2", "happened": []}));
    platform.broker.broadcast(Topic::TaskEvents, later).await.expect("told");
    assert_eq!(feed.kinds(1).await, [EventType::Canceled]);
}

#[tokio::test]
async fn a_stream_that_falls_behind_catches_up() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.told_of(&token).await;
    let mut live = platform.watch(&token, id).await;
    let claim = platform.claim(&token, id).await;
    // More than waits for anybody.
    for step in 0..6 {
        let message = Some(format!("{step}{}", "x".repeat(1 << 20)));
        platform.tasks.progress(claim, 0.5, message).await.expect("noted");
    }
    let result = serde_json::value::to_raw_value(&1).expect("JSON");
    platform.tasks.finish(claim, result).await.expect("finished");
    let mut told = Vec::new();
    while told.last() != Some(&Finished) {
        told.extend(feed.kinds(1).await);
    }
    let steps = [Started, Progress, Progress, Progress, Progress, Progress, Progress, Finished];
    assert_eq!(told, steps);
    assert_eq!(live.kinds(1).await, [Created]);
    assert_eq!(kinds(&live.rest().await), steps);
}

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
