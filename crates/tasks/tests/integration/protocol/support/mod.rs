//! A small platform: processes that share a store, a broker and a clock.

mod durable;
mod faulty;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_broker::{
    Broker, Consumer, Delivery, MemoryBroker, Queue, Received, Subscription, Topic,
};
use miniapp_runtime::clock::ManualClock;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::engine::IdempotencyKey;
use miniapp_tasks::sqlite::SqliteEngine;
use miniapp_tasks::{Claim, Engine, NewTask, Retention, Runtime, Task, Tasks};
use miniapp_test_support::timelines;
use miniapp_types::message::TaskReady;
use miniapp_types::name::QueueName;
use miniapp_types::task::{Event, EventType, TaskError};
use miniapp_types::trace::TraceContext;
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use durable::Durable;
pub use faulty::{Fault, Faulty};

pub const LEASE: SignedDuration = SignedDuration::from_secs(15);
/// What the reaper waits after a step of the clock. Short, because only the tests' clock is set.
const REAPER_LEASE: Duration = Duration::from_millis(200);
pub const RETENTION: Retention =
    Retention { ended: SignedDuration::from_hours(24), removed: SignedDuration::from_hours(1) };
/// Time limit for a condition to become true.
const LIMIT: Duration = Duration::from_secs(30);

/// What survives a process.
pub struct World {
    directory: TempDir,
    pub clock: Arc<ManualClock>,
    pub broker: Arc<MemoryBroker>,
}

impl World {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            clock: Arc::new(ManualClock::default()),
            broker: Arc::new(MemoryBroker::new()),
        }
    }

    /// Advances the clock and all timers without waiting. Needs a test with a single thread.
    pub async fn skip(&self, duration: Duration) {
        self.clock.advance(duration);
        tokio::time::pause();
        tokio::time::advance(duration).await;
        tokio::time::resume();
    }

    /// Opens another engine on the store.
    pub async fn engine(&self) -> Arc<dyn Engine> {
        let url = format!("sqlite://{}", self.directory.path().join("tasks.db").display());
        Arc::new(SqliteEngine::open(&url, false).await.expect("a store"))
    }

    /// Returns the tasks of another process whose background loops do not run.
    pub async fn idle(&self) -> (Tasks, Runtime) {
        let runtime = self.runtime(self.engine().await, self.broker.clone());
        (runtime.tasks().clone(), runtime)
    }

    pub fn runtime(&self, engine: Arc<dyn Engine>, broker: Arc<dyn Broker>) -> Runtime {
        Runtime::new(engine, self.clock.clone(), broker, RETENTION, REAPER_LEASE)
    }

    /// Starts another process. Its broker survives processes.
    pub async fn process(&self) -> Process {
        self.process_on(self.engine().await)
    }

    pub fn process_on(&self, engine: Arc<dyn Engine>) -> Process {
        let runtime = self.runtime(engine, Arc::new(Durable(self.broker.clone())));
        let (tasks, stop) = (runtime.tasks().clone(), Shutdown::new());
        let runtime = tokio::spawn(runtime.run_until(stop.clone()));
        Process { tasks, stop, runtime }
    }

    pub async fn consume(&self, prefetch: u16) -> Box<dyn Consumer> {
        self.broker.consume(Queue::Tasks, prefetch).await.expect("a consumer")
    }

    pub async fn subscribe(&self, topic: Topic) -> Box<dyn Subscription> {
        self.broker.subscribe(topic).await.expect("a subscription")
    }
}

/// A running process.
pub struct Process {
    pub tasks: Tasks,
    stop: Shutdown,
    runtime: JoinHandle<()>,
}

impl Process {
    /// Stops the process gracefully.
    pub async fn stop(self) {
        self.stop.begin();
        within("the end of a process", self.runtime).await.expect("no panic");
    }
}

pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LIMIT, wait).await;
    waited.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// Polls until `is_so` returns `true`.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, asking).await;
}

pub fn new_task(owner: Uuid) -> NewTask {
    NewTask {
        owner,
        kind: "echo".into(),
        queue: QueueName::default(),
        description: "a task of a test".into(),
        data: raw("{\"n\":1}"),
        ttl: 60,
        max_attempts: 3,
        run_at: None,
        key: None,
        trace: TraceContext::default(),
    }
}

pub fn key(text: &str, digest: u8) -> IdempotencyKey {
    IdempotencyKey { key: text.to_owned(), digest: [digest; 32], previous_digest: None }
}

pub fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

pub fn error() -> TaskError {
    TaskError { code: "broken".into(), message: "It broke".into() }
}

pub async fn submit(tasks: &Tasks, owner: Uuid) -> Task {
    tasks.submit(new_task(owner)).await.expect("accepted").task
}

/// Returns the message about the current version of `task`.
pub fn ready(task: &Task) -> TaskReady {
    let (generation, version) = (task.state.generation, task.state.version);
    let queue = Some(task.spec.queue).filter(|queue| !queue.is_default());
    TaskReady::V1 { task_id: task.id, generation, version, queue }
}

pub async fn try_claim(tasks: &Tasks, ready: &TaskReady) -> Option<(Claim, Task)> {
    let claimed = tasks.claim(ready, &"worker".into(), LEASE, true).await.expect("a store");
    claimed.claimed().map(|claimed| (claimed.claim, claimed.task))
}

pub async fn claim(tasks: &Tasks, task: &Task) -> Claim {
    try_claim(tasks, &ready(task)).await.expect("claimable").0
}

/// Submits and claims a task.
pub async fn submit_claimed(tasks: &Tasks, owner: Uuid) -> (Task, Claim) {
    let task = submit(tasks, owner).await;
    let (claim, task) = try_claim(tasks, &ready(&task)).await.expect("claimable");
    (task, claim)
}

pub async fn get(tasks: &Tasks, task: &Task) -> Task {
    tasks.get(task.owner, task.id).await.expect("a store").expect("a task")
}

pub async fn timeline(tasks: &Tasks, task: &Task) -> Vec<Event> {
    timelines::of_task(tasks, task.owner, task.id).await.expect("a store").expect("a timeline")
}

pub async fn kinds(tasks: &Tasks, task: &Task) -> Vec<EventType> {
    timeline(tasks, task).await.iter().map(|event| event.kind).collect()
}

/// Returns the next message about a task.
pub async fn next(consumer: &mut dyn Consumer) -> (TaskReady, Delivery) {
    let delivery = within("a message", consumer.next()).await.expect("a consumer");
    (delivery.message.decode().expect("a message about a task"), delivery)
}

/// Returns the next message of a topic and fails after a gap.
pub async fn next_message<T: serde::de::DeserializeOwned>(
    subscription: &mut dyn Subscription,
) -> T {
    match within("a message", subscription.next()).await {
        Some(Received::Message(message)) => message.decode().expect("a message of the topic"),
        other => panic!("{other:?} instead of a message"),
    }
}

/// Returns the random seed: `MINIAPP_TEST_SEED` or a new one. Thread scheduling stays random.
pub fn seed() -> u64 {
    let seed = match std::env::var("MINIAPP_TEST_SEED") {
        Ok(seed) => seed.parse().expect("MINIAPP_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("MINIAPP_TEST_SEED={seed}");
    seed
}
