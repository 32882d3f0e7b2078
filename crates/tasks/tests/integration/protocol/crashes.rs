//! Repeated crashes of a process with embedded engines: the queue is lost, the file remains.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_broker::{Broker, MemoryBroker, Queue};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{Claimable, Claimed, Error, Task, Tasks};
use miniapp_test_support::timeline_checks;
use miniapp_types::task::Status;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::protocol::support::{
    LEASE, World, error, eventually, get, new_task, raw, seed, timeline,
};

/// Maximum number of tasks that a client submits per run.
const SUBMITS: usize = 40;

/// What the clients and workers of all runs observed.
#[derive(Default)]
struct Known {
    accepted: Mutex<Vec<Task>>,
    outcomes: AtomicUsize,
    /// Unexpected errors. A dying process may see that its store is gone.
    unexpected: Mutex<Vec<Error>>,
}

impl Known {
    /// Returns a result unless its process is dying.
    fn check<T>(&self, answer: Result<T, Error>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(Error::Store(_)) => None,
            Err(other) => {
                self.unexpected.lock().push(other);
                None
            }
        }
    }
}

/// Claims and ends tasks, sometimes with a retry.
async fn work(tasks: Tasks, broker: Arc<MemoryBroker>, known: Arc<Known>, mut rng: SmallRng) {
    let mut consumer = broker.consume(Queue::Tasks, 8).await.expect("a consumer");
    while let Some(delivery) = consumer.next().await {
        let message = delivery.message.decode().expect("a message about a task");
        let claimed = tasks.claim(&message, &"worker".into(), LEASE, true).await;
        let claimed = claimed.map(Claimable::claimed).map_err(Error::Store);
        let Some(claimed) = known.check(claimed) else { return };
        if let Some(Claimed { claim, .. }) = claimed {
            if rng.random_bool(0.3) {
                known.check(tasks.progress(claim, 0.5, None).await);
            }
            let outcome = match rng.random_range(0..10) {
                0 => tasks.fail(claim, error()).await,
                1 => tasks.retry(claim, error(), Duration::from_millis(500)).await,
                _ => tasks.finish(claim, raw("1")).await,
            };
            if known.check(outcome).is_none() {
                return;
            }
            known.outcomes.fetch_add(1, Ordering::SeqCst);
        }
        delivery.ack().await;
    }
}

async fn submit_on(tasks: Tasks, known: Arc<Known>) {
    for _ in 0..SUBMITS {
        let accepted = known.check(tasks.submit(new_task(Uuid::new_v4())).await);
        known.accepted.lock().extend(accepted.map(|accepted| accepted.task));
    }
}

/// One run of the process, until `end`.
async fn live<F: Future>(
    world: &World,
    known: &Arc<Known>,
    rng: &mut SmallRng,
    clients: usize,
    end: impl FnOnce(Tasks) -> F,
) {
    let broker = Arc::new(MemoryBroker::new());
    let runtime = world.runtime(world.engine().await, broker.clone());
    let tasks = runtime.tasks().clone();
    tokio::spawn(runtime.run_until(Shutdown::new()));
    for _ in 0..2 {
        let rng = SmallRng::seed_from_u64(rng.random());
        tokio::spawn(work(tasks.clone(), broker.clone(), known.clone(), rng));
    }
    for _ in 0..clients {
        tokio::spawn(submit_on(tasks.clone(), known.clone()));
    }
    end(tasks).await;
}

#[test]
fn accepted_tasks_end_once_despite_repeated_crashes() {
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let world = World::new();
    let known = Arc::new(Known::default());
    for _ in 0..6 {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let until = known.outcomes.load(Ordering::SeqCst) + rng.random_range(1..100);
        runtime.block_on(live(&world, &known, &mut rng, 4, async |_| {
            let has_happened = async || known.outcomes.load(Ordering::SeqCst) >= until;
            eventually("outcomes", has_happened).await;
        }));
        // Drops all tasks of the runtime wherever they are.
        runtime.shutdown_timeout(Duration::from_secs(10));
        world.clock.advance(Duration::from_secs(5));
    }

    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let accepted = known.accepted.lock().clone();
    runtime.block_on(live(&world, &known, &mut rng, 0, async |tasks: Tasks| {
        let have_ended = async || {
            world.clock.advance(Duration::from_secs(1));
            let reads = accepted.iter().map(|task| get(&tasks, task));
            join_all(reads).await.iter().all(|task| task.state.status.is_terminal())
        };
        eventually("the end of all tasks", have_ended).await;
        for task in &accepted {
            let task = get(&tasks, task).await;
            timeline_checks::check(&task, &timeline(&tasks, &task).await, 0);
            assert_ne!(task.state.status, Status::Canceled);
        }
    }));
    let unexpected = known.unexpected.lock();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(accepted.len() > 100, "{} tasks are too few", accepted.len());
}
