//! Concurrent calls share a transaction and get their own results.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_tasks::engine::IdempotencyKey;
use miniapp_tasks::{Claimed, Error, NewTask, Refusal, Task, Tasks};
use miniapp_test_support::timeline_checks;
use miniapp_types::task::{EventType, Status};
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::protocol::support::{
    LEASE, World, claim, error, get, key, kinds, new_task, raw, ready, submit, submit_claimed,
    timeline, try_claim,
};

const MANY: usize = 1000;

/// Runs calls on all threads and returns their results in order.
async fn at_once<T: Send + 'static, F>(calls: impl IntoIterator<Item = F>) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let handles: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    join_all(handles).await.into_iter().map(|answer| answer.expect("no panic")).collect()
}

async fn submit_many(tasks: &Tasks, owner: Uuid) -> Vec<Task> {
    let submits = (0..MANY).map(|number| {
        let tasks = tasks.clone();
        let description = format!("task {number}");
        let data = raw(&number.to_string());
        async move { tasks.submit(NewTask { description, data, ..new_task(owner) }).await }
    });
    let submitted = at_once(submits).await;
    submitted.into_iter().map(|submitted| submitted.expect("accepted").task).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_submits_return_their_own_tasks() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let owner = Uuid::new_v4();
    let submitted = submit_many(&tasks, owner).await;
    let ids: HashSet<Uuid> = submitted.iter().map(|task| task.id).collect();
    assert_eq!(ids.len(), MANY, "two got the same task");
    let reads = submitted.iter().map(|task| get(&tasks, task));
    for (number, (task, stored)) in submitted.iter().zip(join_all(reads).await).enumerate() {
        assert_eq!(task.spec.description, format!("task {number}"));
        assert_eq!(stored.spec.data.get(), number.to_string());
        timeline_checks::check(&stored, &timeline(&tasks, task).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_claims_and_outcomes_get_their_own_results() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let submitted = submit_many(&tasks, Uuid::new_v4()).await;
    // Two workers race for each task.
    let claims = (0..2 * MANY).map(|number| {
        let (tasks, ready) = (tasks.clone(), ready(&submitted[number / 2]));
        let worker: Arc<str> = format!("worker {number}").into();
        async move { tasks.claim(&ready, &worker, LEASE, false).await.expect("a store").claimed() }
    });
    let mut held = Vec::new();
    for (number, pair) in at_once(claims).await.chunks(2).enumerate() {
        let won: Vec<_> = pair.iter().flatten().collect();
        assert_eq!(won.len(), 1, "{} won task {number}", won.len());
        let Claimed { claim, task, .. } = won[0];
        assert_eq!((claim.task_id, task.id), (submitted[number].id, submitted[number].id));
        let winner = 2 * number + usize::from(pair[1].is_some());
        assert_eq!(task.state.worker.as_deref(), Some(&*format!("worker {winner}")));
        held.push(*claim);
    }
    let outcomes = held.iter().enumerate().map(|(number, claim)| {
        let (tasks, claim) = (tasks.clone(), *claim);
        async move {
            match number % 5 {
                0 => tasks.fail(claim, error()).await,
                1 => tasks.retry(claim, error(), Duration::from_millis(750)).await,
                2 => tasks.release(claim).await,
                3 => tasks.exceed_ttl(claim).await,
                _ => tasks.finish(claim, raw(&number.to_string())).await,
            }
        }
    });
    for (number, outcome) in at_once(outcomes).await.into_iter().enumerate() {
        let task = outcome.expect("a held claim").task;
        assert_eq!(task.id, submitted[number].id);
        let expected = match number % 5 {
            0 => Status::Failed,
            1 | 2 => Status::Awaiting,
            3 => Status::Canceled,
            _ => Status::Finished,
        };
        assert_eq!(task.state.status, expected);
        let result = task.state.result.as_deref().map(|result| result.get().to_owned());
        assert_eq!(result, (number % 5 == 4).then(|| number.to_string()));
        timeline_checks::check(&get(&tasks, &task).await, &timeline(&tasks, &task).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_submits_with_a_key_create_one_task() {
    let world = World::new();
    let processes = [world.idle().await, world.idle().await];
    let owner = Uuid::new_v4();
    let submits = (0..300_usize).map(|number| {
        let tasks = processes[number % 2].0.clone();
        let digest = u8::from(number % 3 == 0);
        let new = NewTask { key: Some(key("the key", digest)), ..new_task(owner) };
        async move { tasks.submit(new).await }
    });
    let answers = at_once(submits).await;
    let first = answers.iter().flatten().find(|answer| answer.is_new).expect("one is fresh");
    let place = answers.iter().position(|a| a.as_ref().is_ok_and(|a| a.is_new)).expect("one");
    for (number, answer) in answers.iter().enumerate() {
        match answer {
            Ok(answer) => {
                assert_eq!(answer.task.id, first.task.id, "there are two tasks");
                assert_eq!(answer.is_new, number == place, "two are fresh");
                assert_eq!(number % 3 == 0, place % 3 == 0, "the other body was taken");
            }
            Err(Error::KeyReused) => assert_ne!(number % 3 == 0, place % 3 == 0),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(kinds(&processes[0].0, &first.task).await, [EventType::Created]);
}

#[tokio::test]
async fn key_of_the_previous_release_is_compared_by_digest_and_data() {
    let world = World::new();
    let (tasks, _loops) = world.idle().await;
    let owner = Uuid::new_v4();
    let stored = NewTask { data: raw("[1.0]"), key: Some(key("k", 1)), ..new_task(owner) };
    let first = tasks.submit(stored).await.expect("accepted").task;
    let repeat = async |previous_digest: Option<u8>, data: &str| {
        let previous_digest = previous_digest.map(|digest| [digest; 32]);
        let key = IdempotencyKey { previous_digest, ..key("k", 2) };
        tasks.submit(NewTask { data: raw(data), key: Some(key), ..new_task(owner) }).await
    };
    for data in ["[1.0]", "[1]", "[10e-1]"] {
        let again = repeat(Some(1), data).await.expect("the same");
        assert!(!again.is_new && again.task.id == first.id, "{data}");
    }
    for (previous, data) in [(Some(1), "[1.00000000000000000001]"), (Some(3), "[1]"), (None, "[1]")]
    {
        let other = repeat(previous, data).await;
        assert!(matches!(other, Err(Error::KeyReused)), "{data}");
    }
}

#[tokio::test]
async fn known_key_is_reported_to_a_whole_batch() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let owner = Uuid::new_v4();
    let with_key = |digest| NewTask { key: Some(key("the key", digest)), ..new_task(owner) };
    let first = tasks.submit(with_key(1)).await.expect("accepted").task;
    // The first request of a batch has another body than the others.
    let again = join_all((0..50).map(|number| tasks.submit(with_key(number.min(1))))).await;
    for (number, answer) in again.into_iter().enumerate() {
        match answer {
            Ok(answer) => assert_eq!((answer.task.id, answer.is_new), (first.id, false)),
            Err(Error::KeyReused) => assert_eq!(number, 0),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Calls of one batch behave as if each had its own transaction.
#[tokio::test]
async fn commands_for_one_task_share_a_batch() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let owner = Uuid::new_v4();
    let task = submit(&tasks, owner).await;
    let message = ready(&task);
    let (claimed, canceled, restarted, again, restarted_again, late) = tokio::join!(
        try_claim(&tasks, &message),
        tasks.cancel(owner, task.id),
        tasks.restart(owner, task.id),
        tasks.cancel(owner, task.id),
        tasks.restart(owner, task.id),
        try_claim(&tasks, &message),
    );
    let (claim, _) = claimed.expect("claimable");
    assert!(canceled.expect("running").state.cancel_requested);
    assert!(matches!(restarted, Err(Error::Refused(Refusal::NotFinished))));
    assert!(again.expect("running").state.cancel_requested);
    assert!(matches!(restarted_again, Err(Error::Refused(Refusal::NotFinished))));
    assert!(late.is_none(), "claimed twice");

    let (confirmed, restarted, finished, canceled) = tokio::join!(
        tasks.confirm_cancel(claim),
        tasks.restart(owner, task.id),
        tasks.finish(claim, raw("1")),
        tasks.cancel(owner, task.id),
    );
    assert_eq!(confirmed.expect("a held claim").task.state.status, Status::Canceled);
    assert_eq!(restarted.expect("ended").state.generation, 2);
    assert!(matches!(finished, Err(Error::Refused(Refusal::Stale))));
    assert_eq!(canceled.expect("waiting").state.status, Status::Canceled);
    timeline_checks::check(&get(&tasks, &task).await, &timeline(&tasks, &task).await, 0);
}

/// The task is too large for the cache.
#[tokio::test]
async fn uncached_task_behaves_like_others() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let owner = Uuid::new_v4();
    let data = raw(&serde_json::json!("x".repeat(200 * 1024)).to_string());
    let new = NewTask { data: data.clone(), ..new_task(owner) };
    let task = tasks.submit(new).await.expect("accepted").task;
    let held = claim(&tasks, &task).await;
    let mut progress = JoinSet::new();
    for number in 0..100 {
        let tasks = tasks.clone();
        progress.spawn(async move {
            let message = Some(format!("step {number}"));
            tasks.progress(held, 0.5, message).await.expect("a held claim");
        });
    }
    while let Some(done) = progress.join_next().await {
        done.expect("no panic");
    }
    let task = tasks.finish(held, data.clone()).await.expect("a held claim").task;
    let stored = get(&tasks, &task).await;
    assert_eq!(stored.spec.data.get(), data.get());
    assert_eq!(stored.state.result.as_deref().map(RawValue::get), Some(data.get()));
    let timeline = timeline(&tasks, &task).await;
    assert_eq!(timeline.len(), 103);
    timeline_checks::check(&stored, &timeline, 0);
}

#[tokio::test]
async fn canceled_caller_does_not_affect_its_batch() {
    let world = World::new();
    let (tasks, _runtime) = world.idle().await;
    let (task, held) = submit_claimed(&tasks, Uuid::new_v4()).await;
    let impatient = tokio::spawn({
        let tasks = tasks.clone();
        async move { tasks.progress(held, 0.1, None).await }
    });
    tokio::task::yield_now().await;
    impatient.abort();
    tasks.finish(held, raw("1")).await.expect("a held claim");
    timeline_checks::check(&get(&tasks, &task).await, &timeline(&tasks, &task).await, 0);
}
