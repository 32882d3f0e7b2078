//! Claims last while they are renewed, and writes of an old claim are refused.

use std::time::Duration;

use miniapp_tasks::domain::POISON_AFTER;
use miniapp_tasks::{Claim, Error, Refusal, RenewedLease, Task, Tasks};
use miniapp_test_support::timeline_checks;
use miniapp_types::task::{EventType, Status};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::protocol::support::{
    LEASE, World, claim, error, eventually, get, kinds, new_task, next, raw, submit_claimed,
    timeline, try_claim,
};

/// Longer than a lease.
const TOO_LONG: Duration = Duration::from_secs(16);

async fn refuses_everything(tasks: &Tasks, claim: Claim) {
    let answers = [
        tasks.progress(claim, 0.5, None).await,
        tasks.finish(claim, raw("1")).await,
        tasks.retry(claim, error(), Duration::from_millis(750)).await,
        tasks.fail(claim, error()).await,
        tasks.confirm_cancel(claim).await,
        tasks.exceed_ttl(claim).await,
        tasks.release(claim).await,
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Error::Refused(Refusal::Stale))), "{answer:?}");
    }
    assert!(tasks.renew(&[claim], LEASE).await.expect("a store").is_empty(), "renewed");
}

async fn becomes(tasks: &Tasks, task: &Task, kind: EventType) {
    let is_so = async || kinds(tasks, task).await.last() == Some(&kind);
    eventually(&format!("{kind}"), is_so).await;
}

#[tokio::test]
async fn expired_lease_admits_another_worker_and_fences_the_old_one() {
    let world = World::new();
    let (worker, other) = (world.process().await, world.process().await);
    let mut consumer = world.consume(10).await;
    let (task, old) = submit_claimed(&worker.tasks, Uuid::new_v4()).await;
    world.skip(TOO_LONG).await;
    becomes(&other.tasks, &task, EventType::LeaseLost).await;
    refuses_everything(&worker.tasks, old).await;

    // The first message may be delivered again before the valid one.
    let held = loop {
        let (message, delivery) = next(&mut *consumer).await;
        delivery.ack().await;
        if let Some((held, _)) = try_claim(&other.tasks, &message).await {
            break held;
        }
    };
    assert!(held.token > old.token);
    refuses_everything(&worker.tasks, old).await;
    other.tasks.finish(held, raw("2")).await.expect("a held claim");
    refuses_everything(&worker.tasks, old).await;
    let task = get(&worker.tasks, &task).await;
    assert_eq!(task.state.result.as_deref().map(RawValue::get), Some("2"));
    timeline_checks::check(&task, &timeline(&worker.tasks, &task).await, 0);
}

#[tokio::test]
async fn renewed_lease_does_not_expire() {
    let world = World::new();
    let process = world.process().await;
    let (task, held) = submit_claimed(&process.tasks, Uuid::new_v4()).await;
    let (abandoned, _) = submit_claimed(&process.tasks, Uuid::new_v4()).await;
    let mut renewals = 0;
    // Until the reaper has run a few times, as the leases of other tasks show.
    for _ in 0..3 {
        let task_lost = submit_claimed(&process.tasks, Uuid::new_v4()).await.0;
        let mut reaped = false;
        while !reaped {
            world.skip(Duration::from_secs(5)).await;
            let renewed = process.tasks.renew(&[held], LEASE).await.expect("a store");
            assert_eq!(renewed, [RenewedLease { claim: held, cancel_requested: false }]);
            renewals += 1;
            reaped = kinds(&process.tasks, &task_lost).await.contains(&EventType::LeaseLost);
        }
    }
    assert!(kinds(&process.tasks, &abandoned).await.contains(&EventType::LeaseLost));
    process.tasks.finish(held, raw("1")).await.expect("a held claim");
    let task = get(&process.tasks, &task).await;
    timeline_checks::check(&task, &timeline(&process.tasks, &task).await, renewals);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_renewal_and_outcome_succeed() {
    let world = World::new();
    let (worker, _runtime) = world.idle().await;
    for _ in 0..50 {
        let (task, held) = submit_claimed(&worker, Uuid::new_v4()).await;
        let claims = [held];
        let (renewed, finished) =
            tokio::join!(worker.renew(&claims, LEASE), worker.finish(held, raw("1")));
        let renewals = renewed.expect("a store").len() as u64;
        assert_eq!(finished.expect("a held claim").task.state.status, Status::Finished);
        timeline_checks::check(
            &get(&worker, &task).await,
            &timeline(&worker, &task).await,
            renewals,
        );
    }
}

#[tokio::test]
async fn task_fails_after_too_many_lost_leases() {
    let world = World::new();
    let process = world.process().await;
    let tasks = &process.tasks;
    let (mut task, _) = submit_claimed(tasks, Uuid::new_v4()).await;
    for lost in 1..=POISON_AFTER {
        world.skip(TOO_LONG).await;
        let is_so = async || get(tasks, &task).await.state.lost_leases == lost;
        eventually("a lost lease", is_so).await;
        task = get(tasks, &task).await;
        if lost < POISON_AFTER {
            claim(tasks, &task).await;
        }
    }
    assert_eq!(task.state.status, Status::Failed);
    assert_eq!(task.state.error.as_ref().map(|error| &*error.code), Some("lease_lost"));
    timeline_checks::check(&task, &timeline(tasks, &task).await, 0);
}

#[tokio::test]
async fn cancel_request_survives_a_lost_lease() {
    let world = World::new();
    let process = world.process().await;
    let owner = Uuid::new_v4();
    let (task, held) = submit_claimed(&process.tasks, owner).await;
    process.tasks.cancel(owner, task.id).await.expect("running");
    let renewed = process.tasks.renew(&[held], LEASE).await.expect("a store");
    assert_eq!(renewed, [RenewedLease { claim: held, cancel_requested: true }]);
    world.skip(TOO_LONG).await;
    becomes(&process.tasks, &task, EventType::Canceled).await;
    timeline_checks::check(
        &get(&process.tasks, &task).await,
        &timeline(&process.tasks, &task).await,
        1,
    );
}

/// Releases and retries do not count as lost leases.
#[tokio::test]
async fn release_does_not_count_attempts() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let new = miniapp_tasks::NewTask { max_attempts: 1, ..new_task(Uuid::new_v4()) };
    let mut task = tasks.submit(new).await.expect("accepted").task;
    for _ in 0..10 {
        let held = claim(&tasks, &task).await;
        task = tasks.release(held).await.expect("a held claim").task;
        assert_eq!((task.state.status, task.state.attempt), (Status::Awaiting, 0));
    }
    let held = claim(&tasks, &task).await;
    let task =
        tasks.retry(held, error(), Duration::from_millis(750)).await.expect("a held claim").task;
    assert_eq!(task.state.status, Status::Failed, "its only attempt was spent");
}

#[tokio::test]
async fn each_restore_voids_claims() {
    let world = World::new();
    let process = world.process().await;
    let (_task, claim) = submit_claimed(&process.tasks, Uuid::new_v4()).await;
    for _ in 0..3 {
        assert_eq!(process.tasks.void_claims().await.expect("a store"), 1);
        refuses_everything(&process.tasks, claim).await;
        world.clock.advance(Duration::from_millis(1));
    }
}
