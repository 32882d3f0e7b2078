//! Deleted tasks stop, stay visible to streams for a while, and are purged.

use std::time::Duration;

use futures_util::future::join_all;
use miniapp_tasks::{Error, Filter, NewTask};
use miniapp_test_support::timeline_checks;
use miniapp_types::task::{EventType, Status};
use uuid::Uuid;

use crate::protocol::support::{
    LEASE, World, claim, error, eventually, key, kinds, new_task, raw, ready, submit,
    submit_claimed, timeline, try_claim,
};

#[tokio::test]
async fn delete_stops_a_running_task() {
    let world = World::new();
    let ((one, _one), (other, _other)) = (world.idle().await, world.idle().await);
    let owner = Uuid::new_v4();
    let (task, held) = submit_claimed(&one, owner).await;
    other.delete(owner, task.id).await.expect("running");
    assert!(one.renew(&[held], LEASE).await.expect("a store").is_empty(), "renewed");
    for tasks in [&one, &other] {
        let results = [
            tasks.progress(held, 0.5, None).await.map(drop),
            tasks.finish(held, raw("1")).await.map(drop),
            tasks.retry(held, error(), Duration::from_millis(750)).await.map(drop),
            tasks.confirm_cancel(held).await.map(drop),
            tasks.release(held).await.map(drop),
            tasks.cancel(owner, task.id).await.map(drop),
            tasks.restart(owner, task.id).await.map(drop),
            tasks.requeue(task.id).await.map(drop),
        ];
        for result in results {
            assert!(matches!(result, Err(Error::NotFound)), "{result:?}");
        }
        assert!(matches!(tasks.delete(owner, task.id).await, Err(Error::NotFound)));
        assert!(tasks.get(owner, task.id).await.expect("a store").is_none());
        let events = timeline(tasks, &task).await;
        let last = events.last().expect("events");
        assert_eq!((last.kind, last.status), (EventType::Deleted, Status::Canceled));
    }
}

#[tokio::test]
async fn deleted_task_is_not_run() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let owner = Uuid::new_v4();
    let task = submit(&tasks, owner).await;
    tasks.delete(owner, task.id).await.expect("waiting");
    assert!(try_claim(&tasks, &ready(&task)).await.is_none());
    let everything = Filter { limit: 10, ..Filter::default() };
    assert!(tasks.list(&everything).await.expect("a store").is_empty());
    // Its key can be used again.
    let keyed = || NewTask { key: Some(key("the key", 1)), ..new_task(owner) };
    let first = tasks.submit(keyed()).await.expect("accepted").task;
    tasks.delete(owner, first.id).await.expect("waiting");
    let second = tasks.submit(keyed()).await.expect("accepted");
    assert!(second.is_new && second.task.id != first.id);
}

/// More tasks than one query returns, in every status.
#[tokio::test(flavor = "multi_thread")]
async fn delete_all_removes_every_task_of_an_owner() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let (owner, other) = (Uuid::new_v4(), Uuid::new_v4());
    let kept = submit(&tasks, other).await;
    let mut all = join_all((0..600).map(|_| submit(&tasks, owner))).await;
    for (number, task) in all.iter_mut().enumerate().take(300) {
        let held = claim(&tasks, task).await;
        if number < 200 {
            *task = tasks.finish(held, raw("1")).await.expect("a held claim").task;
        }
    }
    // Twice, as when the event of a deleted account is delivered twice.
    let (one, again) = tokio::join!(tasks.delete_all(owner), tasks.delete_all(owner));
    one.expect("a store");
    again.expect("a store");
    let mine = Filter { owner: Some(owner), limit: 10, ..Filter::default() };
    assert!(tasks.list(&mine).await.expect("a store").is_empty());
    let engine = world.engine().await;
    for task in &all {
        let stored = engine.load(&[task.id]).await.expect("a store").pop().expect("kept a while");
        timeline_checks::check(&stored, &timeline(&tasks, task).await, 0);
        assert!(stored.state.deleted);
    }
    assert_eq!(kinds(&tasks, &kept).await, [EventType::Created]);
    tasks.delete_all(owner).await.expect("nothing to do");
}

/// The first sweep of a process.
#[tokio::test(flavor = "multi_thread")]
async fn old_tasks_are_purged() {
    let world = World::new();
    let owner = Uuid::new_v4();
    let (tasks, _runtime) = world.idle().await;
    let waiting = submit(&tasks, owner).await;
    let removed = submit(&tasks, owner).await;
    tasks.delete(owner, removed.id).await.expect("waiting");
    let ended = submit(&tasks, owner).await;
    tasks.cancel(owner, ended.id).await.expect("waiting");

    let is_gone = async |id| tasks.timeline(owner, id, 0).await.expect("a store").is_none();
    world.clock.advance(Duration::from_hours(2));
    let process = world.process().await;
    eventually("the purge of the deleted task", async || is_gone(removed.id).await).await;
    assert!(!is_gone(ended.id).await, "deleted tasks are purged sooner");
    process.stop().await;

    world.clock.advance(Duration::from_hours(24));
    let process = world.process().await;
    eventually("the purge of the ended task", async || is_gone(ended.id).await).await;
    assert!(!is_gone(waiting.id).await, "waiting tasks are never purged");
    assert!(matches!(process.tasks.cancel(owner, ended.id).await, Err(Error::NotFound)));
    assert!(matches!(tasks.restart(owner, ended.id).await, Err(Error::NotFound)));
}
