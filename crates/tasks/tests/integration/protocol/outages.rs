//! Broker outages: tasks wait, nothing is refused and nothing is lost.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_broker::Delivery;
use miniapp_tasks::{Task, Tasks};
use miniapp_test_support::timeline_checks;
use miniapp_types::message::TaskReady;
use miniapp_types::task::Status;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::protocol::support::{Process, World, get, next, raw, submit, timeline, try_claim};

/// Consumes messages until each of `tasks` has run. Duplicates are ignored.
async fn run_all(world: &World, process: &Process, tasks: &[Task]) {
    let mut consumer = world.consume(64).await;
    let mut missing: HashSet<Uuid> = tasks.iter().map(|task| task.id).collect();
    let mut running = JoinSet::new();
    while !missing.is_empty() {
        tokio::select! {
            (message, delivery) = next(&mut *consumer) => {
                running.spawn(run(process.tasks.clone(), message, delivery));
            }
            Some(run) = running.join_next() => {
                if let Some(id) = run.expect("no panic") {
                    assert!(missing.remove(&id), "task {id} ran twice");
                }
            }
        }
    }
}

/// Claims and finishes the task of a message. Returns `None` for a duplicate.
async fn run(tasks: Tasks, message: TaskReady, delivery: Delivery) -> Option<Uuid> {
    let claimed = try_claim(&tasks, &message).await;
    let id = claimed.as_ref().map(|(_, task)| task.id);
    if let Some((claim, _)) = claimed {
        tasks.finish(claim, raw("1")).await.expect("a held claim");
    }
    delivery.ack().await;
    id
}

async fn check_all(tasks: &Tasks, all: &[Task]) {
    for task in all {
        timeline_checks::check(&get(tasks, task).await, &timeline(tasks, task).await, 0);
    }
}

/// More tasks than the relay keeps in memory.
#[tokio::test(flavor = "multi_thread")]
async fn broker_outage_delays_tasks() {
    let world = World::new();
    let process = world.process().await;
    let owner = Uuid::new_v4();
    world.broker.pause();
    let submits = (0..3000).map(|_| submit(&process.tasks, owner));
    let mut accepted = join_all(submits).await;
    let canceled = accepted.split_off(2900);
    for task in &canceled {
        process.tasks.cancel(owner, task.id).await.expect("waiting");
    }
    world.broker.resume();
    // The relay finds the remaining tasks when they are overdue.
    world.clock.advance(Duration::from_secs(2));
    run_all(&world, &process, &accepted).await;
    check_all(&process.tasks, &accepted).await;
    for task in &canceled {
        assert_eq!(get(&process.tasks, task).await.state.status, Status::Canceled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_broker_outages_delay_little() {
    let world = World::new();
    let process = world.process().await;
    for _ in 0..5 {
        world.broker.pause();
        let task = submit(&process.tasks, Uuid::new_v4()).await;
        world.broker.resume();
        // The clock stands still, so nothing becomes overdue: the relay has to retry.
        run_all(&world, &process, &[task]).await;
    }
}

/// A task that another process has taken over is sent by that process only.
#[tokio::test(flavor = "multi_thread")]
async fn broker_outage_does_not_multiply_messages() {
    let world = World::new();
    let (process, other) = (world.process().await, world.process().await);
    world.broker.pause();
    let owner = Uuid::new_v4();
    let mut accepted = join_all((0..200).map(|_| submit(&process.tasks, owner))).await;
    // Longer than the tasks are left to the process that accepted them.
    world.clock.advance(Duration::from_secs(5));
    world.broker.resume();
    let mut consumer = world.consume(u16::MAX).await;
    let mut received = HashSet::new();
    for round in 0..2 {
        while received.len() < accepted.len() {
            let (TaskReady::V1 { task_id, .. }, delivery) = next(&mut *consumer).await;
            assert!(received.insert(task_id), "a copy of a message");
            delivery.ack().await;
        }
        if round == 0 {
            // Messages that were in flight arrive first.
            accepted.push(submit(&process.tasks, owner).await);
            accepted.push(submit(&other.tasks, owner).await);
        }
    }
}

/// A process that starts and stops during the outage leaves its outbox to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn broker_outage_outlasting_a_process_loses_nothing() {
    let world = World::new();
    world.broker.pause();
    let owner = Uuid::new_v4();
    let process = world.process().await;
    let mut accepted = join_all((0..50).map(|_| submit(&process.tasks, owner))).await;
    process.stop().await;
    let process = world.process().await;
    accepted.extend(join_all((0..50).map(|_| submit(&process.tasks, owner))).await);
    world.clock.advance(Duration::from_secs(30));
    world.broker.resume();
    world.clock.advance(Duration::from_secs(30));
    run_all(&world, &process, &accepted).await;
    check_all(&process.tasks, &accepted).await;
}

/// Messages redelivered after the outage find their tasks claimed.
#[tokio::test(flavor = "multi_thread")]
async fn redelivered_messages_after_an_outage_are_harmless() {
    let world = World::new();
    let process = world.process().await;
    let mut consumer = world.consume(10).await;
    let accepted = join_all((0..10).map(|_| submit(&process.tasks, Uuid::new_v4()))).await;
    let mut running = Vec::new();
    for _ in &accepted {
        let (message, delivery) = next(&mut *consumer).await;
        let (claim, _) = try_claim(&process.tasks, &message).await.expect("claimable");
        running.push((claim, delivery));
    }
    world.broker.pause();
    for (claim, delivery) in running {
        process.tasks.finish(claim, raw("1")).await.expect("a held claim");
        delivery.ack().await;
    }
    world.broker.resume();
    for _ in &accepted {
        let (message, delivery) = next(&mut *consumer).await;
        assert!(delivery.redelivered);
        assert!(try_claim(&process.tasks, &message).await.is_none(), "run twice");
        delivery.ack().await;
    }
    check_all(&process.tasks, &accepted).await;
}
