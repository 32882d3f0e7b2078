//! Every subscriber receives all events, or a gap marker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use miniapp_broker::{Received, Subscription, Topic};
use miniapp_tasks::{Task, Tasks};
use miniapp_types::message::{OwnedEvent, TaskCancels, TaskEvents};
use miniapp_types::task::Event;
use uuid::Uuid;

use crate::protocol::support::{
    Fault, Faulty, World, claim, error, next_message, submit, submit_claimed, timeline, within,
};

/// Runs a task through all transitions, with more rounds for a greater `number`.
async fn live(tasks: &Tasks, owner: Uuid, number: usize) -> Task {
    let mut task = submit(tasks, owner).await;
    for round in 0..number % 4 {
        let held = claim(tasks, &task).await;
        tasks.progress(held, 0.5, Some(format!("round {round}"))).await.expect("a held claim");
        task = tasks
            .retry(held, error(), Duration::from_millis(750))
            .await
            .expect("a held claim")
            .task;
    }
    if number.is_multiple_of(2) {
        tasks.cancel(owner, task.id).await.ok();
        tasks.restart(owner, task.id).await.expect("ended");
    }
    if number.is_multiple_of(5) {
        tasks.delete(owner, task.id).await.expect("there");
    }
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_published_in_task_order() {
    let world = World::new();
    let mut subscription = world.subscribe(Topic::TaskEvents).await;
    let process = world.process().await;
    let lives = (0..100).map(|number| {
        let tasks = process.tasks.clone();
        tokio::spawn(async move { live(&tasks, Uuid::new_v4(), number).await })
    });
    let mut expected: HashMap<Uuid, (Uuid, Vec<Event>)> = HashMap::new();
    for task in join_all(lives).await {
        let task = task.expect("no panic");
        expected.insert(task.id, (task.owner, timeline(&process.tasks, &task).await));
    }
    let mut missing: usize = expected.values().map(|(_, events)| events.len()).sum();
    let mut published: HashMap<Uuid, (Uuid, Vec<Event>)> = HashMap::new();
    while missing > 0 {
        let TaskEvents::V1 { events } = next_message(&mut *subscription).await;
        assert!(!events.is_empty(), "a gap where none can be");
        missing -= events.len();
        for OwnedEvent { user_id, event, .. } in events {
            published.entry(event.task_id).or_insert((user_id, Vec::new())).1.push(event);
        }
    }
    assert_eq!(published, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_requests_are_published_to_workers() {
    let world = World::new();
    let mut cancels = world.subscribe(Topic::TaskCancels).await;
    let process = world.process().await;
    let owner = Uuid::new_v4();
    let waiting = submit(&process.tasks, owner).await;
    process.tasks.cancel(owner, waiting.id).await.expect("waiting");
    let (canceled, held) = submit_claimed(&process.tasks, owner).await;
    let (removed, _) = submit_claimed(&process.tasks, owner).await;
    process.tasks.cancel(owner, canceled.id).await.expect("running");
    // The cancel was requested before, so nothing is published.
    process.tasks.cancel(owner, canceled.id).await.expect("running");
    process.tasks.delete(owner, removed.id).await.expect("running");
    process.tasks.confirm_cancel(held).await.expect("canceled");
    process.stop().await;

    let mut published = Vec::new();
    while let Some(subscription) = cancels.next().now_or_never() {
        let Some(Received::Message(message)) = subscription else { panic!("{subscription:?}") };
        let TaskCancels::V1 { task_ids } = message.decode().expect("cancels");
        published.extend(task_ids);
    }
    assert_eq!(published, [canceled.id, removed.id]);
}

/// Events committed right before the shutdown are published.
#[tokio::test]
async fn shutdown_drains_events() {
    let world = World::new();
    let mut subscription = world.subscribe(Topic::TaskEvents).await;
    let process = world.process().await;
    let task = submit(&process.tasks, Uuid::new_v4()).await;
    process.tasks.cancel(task.owner, task.id).await.expect("waiting");
    process.stop().await;
    let mut published = Vec::new();
    while let Some(Some(Received::Message(message))) = subscription.next().now_or_never() {
        let TaskEvents::V1 { events } = message.decode().expect("events");
        published.extend(events);
    }
    assert_eq!(published.len(), 2, "{published:?}");
}

/// Waits for a gap marker and skips the events before it.
async fn expect_gap(subscription: &mut dyn Subscription) {
    let gap = async {
        loop {
            let Some(Received::Message(message)) = subscription.next().await else { continue };
            let TaskEvents::V1 { events } = message.decode().expect("events");
            if events.is_empty() {
                return;
            }
        }
    };
    within("word of a gap", gap).await;
}

/// More transactions than the queue holds while the broker is away.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_events_are_published_as_a_gap() {
    let world = World::new();
    let mut subscription = world.subscribe(Topic::TaskEvents).await;
    let process = world.process().await;
    let (_, held) = submit_claimed(&process.tasks, Uuid::new_v4()).await;
    world.broker.pause();
    for _ in 0..4500 {
        process.tasks.progress(held, 0.5, None).await.expect("a held claim");
    }
    world.broker.resume();
    expect_gap(&mut *subscription).await;
}

/// The write may have been committed, and then its events are never published.
#[tokio::test(flavor = "multi_thread")]
async fn lost_response_of_the_store_is_published_as_a_gap() {
    let world = World::new();
    let mut subscription = world.subscribe(Topic::TaskEvents).await;
    let engine = Faulty::new(world.engine().await);
    let process = world.process_on(Arc::clone(&engine) as _);
    let (_, held) = submit_claimed(&process.tasks, Uuid::new_v4()).await;
    for fault in [Fault::After, Fault::Before] {
        engine.fail_once(fault);
        assert!(process.tasks.progress(held, 0.5, None).await.is_err());
        expect_gap(&mut *subscription).await;
    }
}
