//! Lost, duplicate and excess events.

use miniapp_broker::{Broker as _, Message, Received, Topic};
use miniapp_types::message::TaskEvents;
use miniapp_types::task::EventType::{self, Created, Finished, Progress, Started};
use serde_json::json;
use uuid::Uuid;

use super::{kinds, start};

#[tokio::test]
async fn broker_outage_loses_no_events() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.submit_observed(&token).await;
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
async fn dropped_events_are_read_from_the_store() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.submit_observed(&token).await;
    let mut live = platform.watch(&token, id).await;
    assert_eq!(live.kinds(1).await, [Created]);
    let silent = platform.silent_tasks().await;
    silent.cancel(token.user, id).await.expect("canceled");
    let empty = Message::new(Uuid::new_v4(), &TaskEvents::V1 { events: Vec::new() });
    platform.broker.broadcast(Topic::TaskEvents, empty).await.expect("broadcast");
    let rest = live.rest().await;
    assert_eq!(kinds(&rest), [EventType::Canceled]);
    assert_eq!(feed.next().await.as_ref(), rest.first());
}

#[tokio::test]
async fn duplicate_events_are_sent_once() {
    let (platform, token) = start().await;
    let mut subscription =
        platform.broker.subscribe(Topic::TaskEvents).await.expect("a subscription");
    let mut feed = platform.feed(&token).await;
    platform.run_to_its_end(&token).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let Some(Received::Message(message)) = subscription.next().await else {
            panic!("no message")
        };
        let TaskEvents::V1 { events } = message.decode().expect("events");
        seen.extend(events);
        platform.broker.broadcast(Topic::TaskEvents, message).await.expect("broadcast");
        // The duplicate itself.
        subscription.next().await;
    }
    let second = platform.submit(&token).await;
    let received = [feed.kinds(3).await, feed.kinds(1).await].concat();
    assert_eq!(received, [Created, Started, Finished, Created]);
    platform.finish(&token, second).await;
    assert_eq!(feed.kinds(2).await, [Started, Finished]);
}

#[tokio::test]
async fn undecodable_events_are_read_from_the_store() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.submit_observed(&token).await;
    platform.silent_tasks().await.cancel(token.user, id).await.expect("canceled");
    let unknown = Message::new(Uuid::new_v4(), &json!({"v": "2", "happened": []}));
    platform.broker.broadcast(Topic::TaskEvents, unknown).await.expect("broadcast");
    assert_eq!(feed.kinds(1).await, [EventType::Canceled]);
}

#[tokio::test]
async fn slow_stream_catches_up() {
    let (platform, token) = start().await;
    let (id, mut feed) = platform.submit_observed(&token).await;
    let mut live = platform.watch(&token, id).await;
    let claim = platform.claim(&token, id).await;
    // More than a subscriber buffers.
    for step in 0..6 {
        let message = Some(format!("{step}{}", "x".repeat(1 << 20)));
        platform.tasks.progress(claim, 0.5, message).await.expect("noted");
    }
    let result = serde_json::value::to_raw_value(&1).expect("JSON");
    platform.tasks.finish(claim, result).await.expect("finished");
    let mut received = Vec::new();
    while received.last() != Some(&Finished) {
        received.extend(feed.kinds(1).await);
    }
    let steps = [Started, Progress, Progress, Progress, Progress, Progress, Progress, Finished];
    assert_eq!(received, steps);
    assert_eq!(live.kinds(1).await, [Created]);
    assert_eq!(kinds(&live.rest().await), steps);
}
