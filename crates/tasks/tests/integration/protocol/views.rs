//! The cache of a process may be stale, because other processes change tasks, too.

use miniapp_tasks::{Command, Error, Refusal, Task, Tasks};
use miniapp_test_support::timeline_checks;
use miniapp_types::task::{EventType, Status};
use uuid::Uuid;

use crate::protocol::support::{
    World, claim, error, get, kinds, raw, ready, submit, submit_claimed, timeline, try_claim,
};

async fn check(tasks: &Tasks, task: &Task) {
    timeline_checks::check(&get(tasks, task).await, &timeline(tasks, task).await, 0);
}

#[tokio::test]
async fn changes_build_on_those_of_other_processes() {
    let world = World::new();
    let ((one, _one), (other, _other)) = (world.idle().await, world.idle().await);
    let owner = Uuid::new_v4();
    let mut task = submit(&one, owner).await;
    for _ in 0..5 {
        let held = claim(&other, &task).await;
        one.progress(held, 0.5, None).await.expect("a held claim");
        other.progress(held, 0.6, None).await.expect("a held claim");
        one.cancel(owner, task.id).await.expect("running");
        other.confirm_cancel(held).await.expect("canceled");
        task = one.restart(owner, task.id).await.expect("ended");
    }
    other.delete(owner, task.id).await.expect("there");
    assert!(matches!(one.cancel(owner, task.id).await, Err(Error::NotFound)));
    let last = *kinds(&one, &task).await.last().expect("events");
    assert_eq!(last, EventType::Deleted);
}

/// The cache of one process has a cancel request of an earlier generation.
#[tokio::test]
async fn cancel_without_effect_reloads_the_task() {
    let world = World::new();
    let ((one, _one), (other, _other)) = (world.idle().await, world.idle().await);
    let owner = Uuid::new_v4();
    let (task, held) = submit_claimed(&one, owner).await;
    one.cancel(owner, task.id).await.expect("running");

    other.confirm_cancel(held).await.expect("canceled");
    let task = other.restart(owner, task.id).await.expect("ended");
    let held = claim(&other, &task).await;

    let canceled = one.cancel(owner, task.id).await.expect("running");
    assert_eq!(canceled.state.generation, 2, "the earlier generation was returned");
    assert!(other.confirm_cancel(held).await.is_ok(), "the cancel got lost");
    check(&other, &task).await;
}

#[tokio::test]
async fn expected_version_is_that_of_the_store() {
    let world = World::new();
    let ((one, _one), (other, _other)) = (world.idle().await, world.idle().await);
    let owner = Uuid::new_v4();
    let task = submit(&one, owner).await;
    let canceled = other.cancel(owner, task.id).await.expect("waiting");
    // The cache of the first process has the version before.
    let restart = async |version: u64| {
        one.change(owner, task.id, Some(vec![version]), Command::Restart).await
    };
    assert!(matches!(restart(task.state.version).await, Err(Error::VersionConflict)));
    let restarted = restart(canceled.state.version).await.expect("the version of the store");
    let cancel = |tasks: &Tasks, version: u64| {
        let tasks = tasks.clone();
        async move { tasks.change(owner, task.id, Some(vec![version]), Command::Cancel).await }
    };
    let version = restarted.state.version;
    let (here, there) = tokio::join!(cancel(&one, version), cancel(&other, version));
    assert!(here.is_ok() != there.is_ok(), "{here:?} {there:?}");
    for lost in [here, there].into_iter().filter_map(Result::err) {
        let is_refused = matches!(lost, Error::VersionConflict | Error::Refused(_));
        assert!(is_refused, "{lost:?}");
    }
    check(&one, &task).await;
}

/// A batch contains an outcome of a stale claim; a response that depends on it is sent only
/// after the write.
#[tokio::test]
async fn refusal_that_depends_on_a_change_waits_for_it() {
    let world = World::new();
    let ((one, _one), (other, _other)) = (world.idle().await, world.idle().await);
    let owner = Uuid::new_v4();
    let (task, old) = submit_claimed(&one, owner).await;
    let released = other.release(old).await.expect("a held claim").task;
    let held = claim(&other, &released).await;

    let (late, canceled) = tokio::join!(one.finish(old, raw("1")), one.cancel(owner, task.id));
    assert!(matches!(late, Err(Error::Refused(Refusal::Stale))), "{late:?}");
    let canceled = canceled.expect("running");
    assert_eq!(canceled.state.status, Status::Executing);
    other.confirm_cancel(held).await.expect("canceled");
    check(&one, &task).await;
}

/// What one call doubts the next of its batch may still build on.
#[tokio::test]
async fn reload_of_a_task_does_not_hide_it_from_its_batch() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let owner = Uuid::new_v4();
    let task = submit(&tasks, owner).await;
    let message = ready(&task);
    let held = claim(&tasks, &task).await;
    let (copy, progress, canceled) = tokio::join!(
        try_claim(&tasks, &message),
        tasks.progress(held, 0.5, None),
        tasks.cancel(owner, task.id),
    );
    assert!(copy.is_none(), "claimed twice");
    progress.expect("a held claim");
    canceled.expect("running");
    check(&tasks, &task).await;
}

#[tokio::test]
async fn stale_messages_claim_nothing() {
    let world = World::new();
    let ((one, _one), (other, _other)) = (world.idle().await, world.idle().await);
    let owner = Uuid::new_v4();
    let task = submit(&one, owner).await;
    let mut messages = vec![ready(&task)];
    let mut newest = task;
    for _ in 0..3 {
        let held = claim(&one, &newest).await;
        let released = other.release(held).await.expect("a held claim").task;
        messages.push(ready(&released));
        let canceled = one.cancel(owner, released.id).await.expect("waiting");
        newest = other.restart(owner, canceled.id).await.expect("ended");
        for tasks in [&one, &other] {
            for message in &messages {
                assert!(try_claim(tasks, message).await.is_none(), "{message:?} is old");
            }
        }
        messages.push(ready(&newest));
    }
    let nowhere = Task { id: Uuid::new_v4(), ..newest.clone() };
    assert!(try_claim(&one, &ready(&nowhere)).await.is_none());
    check(&one, &newest).await;
}

#[tokio::test]
async fn tasks_of_other_owners_are_not_found() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let (owner, other) = (Uuid::new_v4(), Uuid::new_v4());
    let task = submit(&tasks, owner).await;
    assert!(tasks.get(other, task.id).await.expect("a store").is_none());
    assert!(tasks.timeline(other, task.id, 0).await.expect("a store").is_none());
    for _ in 0..2 {
        assert!(matches!(tasks.cancel(other, task.id).await, Err(Error::NotFound)));
        assert!(matches!(tasks.delete(other, task.id).await, Err(Error::NotFound)));
        assert!(matches!(tasks.restart(other, task.id).await, Err(Error::NotFound)));
    }
    assert_eq!(kinds(&tasks, &task).await, [EventType::Created]);
    // An admin requeues anybody's, but only what failed.
    tasks.cancel(owner, task.id).await.expect("waiting");
    let canceled = tasks.requeue(task.id).await;
    assert!(matches!(canceled, Err(Error::Refused(Refusal::NotFailed))), "{canceled:?}");
    let (task, claim) = submit_claimed(&tasks, owner).await;
    tasks.fail(claim, error()).await.expect("a held claim");
    assert_eq!(tasks.requeue(task.id).await.expect("failed").state.generation, 2);
}
