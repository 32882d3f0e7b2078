//! Failures of the store: callers get an error and can retry, whether or not the write
//! succeeded.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use miniapp_broker::{Broker, Queue};
use miniapp_runtime::clock::Clock as _;
use miniapp_runtime::health::Condition;
use miniapp_tasks::{Claimed, Error, Filter, NewTask, Refusal, Runtime, Tasks};
use miniapp_test_support::timeline_checks;
use miniapp_types::task::{EventType, Status};
use uuid::Uuid;

use crate::protocol::support::{
    Fault, Faulty, LEASE, World, claim, error, eventually, get, key, kinds, new_task, next, raw,
    ready, submit, submit_claimed, timeline, try_claim, within,
};

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, Error>) {
    assert!(matches!(answer, Err(Error::Store(_))), "{answer:?}");
}

async fn faulty(world: &World) -> (Arc<Faulty>, Tasks, Runtime) {
    let engine = Faulty::new(world.engine().await);
    let runtime = world.runtime(Arc::clone(&engine) as _, world.broker.clone());
    (engine, runtime.tasks().clone(), runtime)
}

#[tokio::test]
async fn failed_submit_can_be_retried() {
    let world = World::new();
    let (engine, tasks, _runtime) = faulty(&world).await;
    for (fault, count) in [(Fault::Before, 0), (Fault::After, 1)] {
        let owner = Uuid::new_v4();
        let keyed = || NewTask { key: Some(key("the key", 1)), ..new_task(owner) };
        engine.fail_once(fault);
        is_unavailable(&tasks.submit(keyed()).await);
        let condition = tasks.condition().await.expect("it can be read");
        assert!(matches!(condition, Condition::Degraded(_)), "{condition:?}");
        let mine = Filter { owner: Some(owner), limit: 10, ..Filter::default() };
        assert_eq!(tasks.list(&mine).await.expect("a store").len(), count, "{fault:?}");

        let submitted = tasks.submit(keyed()).await.expect("accepted");
        assert_eq!(submitted.is_new, count == 0);
        assert_eq!(tasks.condition().await.expect("a store"), Condition::Healthy);
        assert_eq!(tasks.list(&mine).await.expect("a store").len(), 1);
        timeline_checks::check(&submitted.task, &timeline(&tasks, &submitted.task).await, 0);
    }
}

#[tokio::test]
async fn failed_changes_can_be_retried() {
    let world = World::new();
    let (engine, tasks, _runtime) = faulty(&world).await;
    for fault in [Fault::Before, Fault::After] {
        let owner = Uuid::new_v4();
        let (task, held) = submit_claimed(&tasks, owner).await;
        engine.fail_once(fault);
        is_unavailable(&tasks.cancel(owner, task.id).await);
        assert!(tasks.cancel(owner, task.id).await.expect("running").state.cancel_requested);

        engine.fail_once(fault);
        is_unavailable(&tasks.finish(held, raw("1")).await);
        let again = tasks.finish(held, raw("1")).await;
        match fault {
            Fault::Before => {
                assert_eq!(again.expect("a held claim").task.state.status, Status::Finished);
            }
            // The first call was committed.
            Fault::After => assert!(matches!(again, Err(Error::Refused(Refusal::Stale)))),
        }
        let finished = get(&tasks, &task).await;
        assert_eq!(finished.state.status, Status::Finished);

        engine.fail_once(fault);
        is_unavailable(&tasks.delete(owner, task.id).await);
        let again = tasks.delete(owner, task.id).await;
        match fault {
            Fault::Before => again.expect("there"),
            Fault::After => assert!(matches!(again, Err(Error::NotFound))),
        }
        assert_eq!(
            kinds(&tasks, &task).await,
            [
                EventType::Created,
                EventType::Started,
                EventType::CancelRequested,
                EventType::Finished,
                EventType::Deleted,
            ]
        );
    }
}

/// A worker that does not know its claim does not run the task, so another worker has to.
#[tokio::test(flavor = "multi_thread")]
async fn claim_with_a_lost_response_expires() {
    let world = World::new();
    let engine = Faulty::new(world.engine().await);
    let process = world.process_on(Arc::clone(&engine) as _);
    let mut consumer = world.consume(10).await;
    let task = submit(&process.tasks, Uuid::new_v4()).await;
    let (message, delivery) = next(&mut *consumer).await;
    engine.fail_once(Fault::After);
    let claimed = process.tasks.claim(&message, &"worker".into(), LEASE, false).await;
    assert!(claimed.is_err());
    delivery.release().await;
    let (message, delivery) = next(&mut *consumer).await;
    assert!(try_claim(&process.tasks, &message).await.is_none(), "it is claimed already");
    let since = Timestamp::MIN;
    let other = process.tasks.recover_lost_claim(&message, "another worker", since).await;
    assert!(other.expect("a store").is_none(), "it is not the other's");
    delivery.ack().await;

    world.clock.advance(Duration::from_secs(16));
    let (message, delivery) = next(&mut *consumer).await;
    let (held, _) = try_claim(&process.tasks, &message).await.expect("claimable");
    process.tasks.finish(held, raw("1")).await.expect("a held claim");
    delivery.ack().await;
    timeline_checks::check(
        &get(&process.tasks, &task).await,
        &timeline(&process.tasks, &task).await,
        0,
    );
}

/// A worker that retries recovers its claim.
#[tokio::test]
async fn claim_with_a_lost_response_is_recovered() {
    let world = World::new();
    let (engine, tasks, _runtime) = faulty(&world).await;
    let task = submit(&tasks, Uuid::new_v4()).await;
    let since = world.clock.now();
    let recover =
        async || tasks.recover_lost_claim(&ready(&task), "worker", since).await.expect("a store");
    assert!(recover().await.is_none(), "the task is unclaimed");
    engine.fail_once(Fault::After);
    assert!(tasks.claim(&ready(&task), &"worker".into(), LEASE, false).await.is_err());
    let Claimed { claim: held, task: claimed, .. } = recover().await.expect("it is claimed");
    assert_eq!(claimed.state.status, Status::Executing);
    // A restarted worker with the same name does not own the claim.
    world.clock.advance(Duration::from_millis(1));
    let next_life = world.clock.now();
    let taken = tasks.recover_lost_claim(&ready(&task), "worker", next_life).await;
    assert!(taken.expect("a store").is_none(), "it is of another life");
    tasks.finish(held, raw("1")).await.expect("a held claim");
    assert!(recover().await.is_none(), "it has ended");
    timeline_checks::check(&get(&tasks, &task).await, &timeline(&tasks, &task).await, 0);
}

/// All requests of the batch fail, and none is applied partially.
#[tokio::test]
async fn failed_batch_fails_every_request() {
    let world = World::new();
    let (engine, tasks, _runtime) = faulty(&world).await;
    let owner = Uuid::new_v4();
    for fault in [Fault::Before, Fault::After] {
        let all = join_all((0..100).map(|_| submit(&tasks, owner))).await;
        let mut held = Vec::new();
        for task in &all {
            held.push(claim(&tasks, task).await);
        }
        engine.fail_once(fault);
        let finishes = join_all(held.iter().map(|held| tasks.finish(*held, raw("1")))).await;
        let failed = finishes.iter().filter(|finish| finish.is_err()).count();
        assert!(failed > 0, "nothing failed");
        for (task, finish) in all.iter().zip(finishes) {
            let task = get(&tasks, task).await;
            let counted = finish.is_ok() || fault == Fault::After;
            assert_eq!(task.state.status == Status::Finished, counted);
            timeline_checks::check(&task, &timeline(&tasks, &task).await, 0);
        }
        let again = join_all(held.iter().map(|held| tasks.finish(*held, raw("1")))).await;
        let counted = again.iter().filter(|finish| finish.is_ok()).count();
        assert_eq!(counted, if fault == Fault::Before { failed } else { 0 });
    }
}

/// A cancel must not be refused because of an end that was not stored.
#[tokio::test]
async fn response_that_depends_on_a_failed_change_fails() {
    let world = World::new();
    let (engine, tasks, _runtime) = faulty(&world).await;
    let owner = Uuid::new_v4();
    let (task, held) = submit_claimed(&tasks, owner).await;
    engine.fail_once(Fault::Before);
    let (finished, canceled) =
        tokio::join!(tasks.finish(held, raw("1")), tasks.cancel(owner, task.id));
    is_unavailable(&finished);
    is_unavailable(&canceled);
    assert!(tasks.cancel(owner, task.id).await.expect("running").state.cancel_requested);
}

#[tokio::test]
async fn background_loops_survive_a_store_outage() {
    let world = World::new();
    let engine = Faulty::new(world.engine().await);
    let process = world.process_on(Arc::clone(&engine) as _);
    let owner = Uuid::new_v4();
    let (running, _) = submit_claimed(&process.tasks, owner).await;
    let (waiting, held) = submit_claimed(&process.tasks, owner).await;
    let retried = process
        .tasks
        .retry(held, error(), Duration::from_millis(750))
        .await
        .expect("a held claim")
        .task;
    engine.is_away(true);
    is_unavailable(&process.tasks.submit(new_task(owner)).await);
    is_unavailable(&process.tasks.cancel(owner, running.id).await);
    assert!(process.tasks.get(owner, running.id).await.is_err());
    world.skip(Duration::from_secs(16)).await;
    // Until every loop has failed.
    let have_failed = async || {
        world.skip(Duration::from_secs(1)).await;
        engine.refused() >= 12
    };
    eventually("failures", have_failed).await;
    engine.is_away(false);

    let mut consumer = world.consume(10).await;
    let mut missing = vec![running.id, waiting.id];
    while !missing.is_empty() {
        let (message, delivery) = next(&mut *consumer).await;
        if let Some((held, task)) = try_claim(&process.tasks, &message).await {
            missing.retain(|id| *id != task.id);
            process.tasks.finish(held, raw("1")).await.expect("a held claim");
        }
        delivery.ack().await;
    }
    assert_eq!(retried.id, waiting.id);
    let depth = async || world.broker.depth(Queue::Tasks).await.expect("a broker");
    eventually("an empty queue", async || depth().await == 0).await;
    for task in [&running, &waiting] {
        timeline_checks::check(
            &get(&process.tasks, task).await,
            &timeline(&process.tasks, task).await,
            0,
        );
    }
}

#[tokio::test]
async fn run_reports_a_panicking_loop() {
    let world = World::new();
    let (engine, tasks, runtime) = faulty(&world).await;
    let served = runtime.run(async {
        submit(&tasks, Uuid::new_v4()).await;
        tasks.condition().await.expect("works");
        "all of it"
    });
    assert_eq!(served.await.expect("works"), "all of it");

    let (broken, _tasks, runtime) = faulty(&world).await;
    broken.breaks();
    let ended = runtime.run(std::future::pending::<()>());
    assert!(within("the end of what broke", ended).await.expect_err("broken").is_panic());

    engine.plan(|| panic!("on purpose"));
    is_unavailable(&tasks.submit(new_task(Uuid::new_v4())).await);
    tasks.condition().await.expect_err("nothing is written any more");
}
