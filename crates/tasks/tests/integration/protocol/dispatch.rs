//! Every task gets a message at its time and not earlier.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use miniapp_broker::{Broker, Queue};
use miniapp_runtime::clock::Clock;
use miniapp_tasks::{NewTask, Task};
use miniapp_types::message::TaskReady;
use miniapp_types::trace::TraceContext;
use uuid::Uuid;

use crate::protocol::support::{
    World, claim, error, eventually, get, new_task, next, raw, ready, submit, submit_claimed,
    try_claim,
};

fn id(message: &TaskReady) -> Uuid {
    let TaskReady::V1 { task_id, .. } = message;
    *task_id
}

#[tokio::test(flavor = "multi_thread")]
async fn message_carries_the_trace_of_its_task() {
    let world = World::new();
    let process = world.process().await;
    let mut consumer = world.consume(1).await;
    let trace = TraceContext {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        tracestate: Some("vendor=1".into()),
        baggage: None,
    };
    let new = NewTask { trace: trace.clone(), ..new_task(Uuid::new_v4()) };
    let task = process.tasks.submit(new).await.expect("accepted").task;
    let (message, delivery) = next(&mut *consumer).await;
    assert_eq!(message, ready(&task));
    assert_eq!(delivery.message.conversation, Some(task.id));
    assert_eq!(delivery.message.trace, trace);
    let (held, _) = try_claim(&process.tasks, &message).await.expect("claimable");
    process.tasks.finish(held, raw("1")).await.expect("a held claim");
    delivery.ack().await;

    // The restart belongs to the same trace.
    let task = process.tasks.restart(task.owner, task.id).await.expect("ended");
    let (message, delivery) = next(&mut *consumer).await;
    assert_eq!((message, delivery.message.trace.clone()), (ready(&task), trace));
    delivery.ack().await;
}

impl World {
    fn after(&self, seconds: i64) -> Timestamp {
        self.clock.now() + SignedDuration::from_secs(seconds)
    }
}

/// Submits a delayed task.
async fn submit_for(tasks: &miniapp_tasks::Tasks, at: Timestamp) -> Task {
    let new = NewTask { run_at: Some(at), ..new_task(Uuid::new_v4()) };
    tasks.submit(new).await.expect("accepted").task
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_task_is_dispatched_on_time() {
    let world = World::new();
    let process = world.process().await;
    let mut consumer = world.consume(10).await;
    let delayed = submit_for(&process.tasks, world.after(60)).await;
    let (retried, held) = submit_claimed(&process.tasks, Uuid::new_v4()).await;
    // The sixth failure: a delay of half a minute.
    let retried_at = process
        .tasks
        .retry(held, error(), Duration::from_secs(32))
        .await
        .expect("a held claim")
        .task;
    assert_eq!(retried_at.state.ready_at, Some(world.after(32)));
    let (message, delivery) = next(&mut *consumer).await;
    assert_eq!(id(&message), retried.id, "the first attempt's");
    delivery.ack().await;

    for (seconds, expected) in [(30, &retried_at), (27, &delayed)] {
        // Two seconds before its time only another message arrives, which shows that the
        // relay has polled.
        world.clock.advance(Duration::from_secs(seconds));
        let marker = submit_for(&process.tasks, world.after(1)).await;
        let (message, delivery) = next(&mut *consumer).await;
        assert_eq!(message, ready(&marker));
        process.tasks.cancel(marker.owner, marker.id).await.expect("waiting");
        delivery.ack().await;
        assert!(consumer.next().now_or_never().is_none(), "a copy, or one before its time");

        world.clock.advance(Duration::from_secs(1));
        let (message, delivery) = next(&mut *consumer).await;
        assert_eq!(message, ready(expected));
        delivery.ack().await;
        let held = claim(&process.tasks, expected).await;
        process.tasks.finish(held, raw("1")).await.expect("a held claim");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn start_time_in_the_past_means_now() {
    let world = World::new();
    let process = world.process().await;
    let mut consumer = world.consume(1).await;
    let task = submit_for(&process.tasks, world.after(-60)).await;
    assert_eq!(next(&mut *consumer).await.0, ready(&task));
}

#[tokio::test(flavor = "multi_thread")]
async fn outbox_of_a_dead_process_is_taken_over() {
    let world = World::new();
    let owner = Uuid::new_v4();
    let mut pending = Vec::new();
    {
        let (tasks, runtime) = world.idle().await;
        drop(runtime);
        for _ in 0..20 {
            pending.push(submit(&tasks, owner).await.id);
        }
    }
    let process = world.process().await;
    let mut consumer = world.consume(100).await;
    world.clock.advance(Duration::from_secs(2));
    let mut sent = Vec::new();
    while sent.len() < pending.len() {
        let (message, delivery) = next(&mut *consumer).await;
        try_claim(&process.tasks, &message).await.expect("claimable");
        sent.push(id(&message));
        delivery.ack().await;
    }
    sent.sort();
    pending.sort();
    assert_eq!(sent, pending);
}

/// An unclaimed message is marked as dispatched, and sent again after the broker lost it.
#[tokio::test(flavor = "multi_thread")]
async fn lost_message_is_redispatched() {
    let mut world = World::new();
    let process = world.process().await;
    let task = submit(&process.tasks, Uuid::new_v4()).await;
    let engine = world.engine().await;
    let depth = async || world.broker.depth(Queue::Tasks).await.expect("a broker");
    eventually("the message", async || depth().await == 1).await;
    // Nothing is due once the task is marked as dispatched.
    let far = world.after(3600);
    let look = miniapp_tasks::engine::TakeDue {
        queues: miniapp_tasks::engine::TakenQueues::Default,
        now: far,
        lookahead: SignedDuration::ZERO,
        overdue: SignedDuration::ZERO,
        visibility_timeout: SignedDuration::ZERO,
        limit: 10,
    };
    let is_noted = async || engine.take_due(&look).await.expect("a store").is_empty();
    eventually("the note", is_noted).await;
    process.stop().await;

    world.broker = std::sync::Arc::new(miniapp_broker::MemoryBroker::new());
    world.clock.advance(Duration::from_secs(40));
    let process = world.process().await;
    let mut consumer = world.consume(1).await;
    let (message, _delivery) = next(&mut *consumer).await;
    assert_eq!(message, ready(&get(&process.tasks, &task).await));
    claim(&process.tasks, &task).await;
}

/// Tasks accepted right before the shutdown are dispatched.
#[tokio::test]
async fn shutdown_drains_the_outbox() {
    let world = World::new();
    let process = world.process().await;
    let owner = Uuid::new_v4();
    let submits = (0..600).map(|_| submit(&process.tasks, owner));
    futures_util::future::join_all(submits).await;
    process.stop().await;
    assert_eq!(world.broker.depth(Queue::Tasks).await.expect("a broker"), 600);
}
