//! The environment of a worker: store, broker and maintenance.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_broker::{Broker, MemoryBroker, Message, Queue};
use miniapp_config::{Config, Database, EngineUrl, Synchronous};
use miniapp_runtime::clock::{Clock, SystemClock};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{NewTask, Retention, Runtime, Task, Tasks, open_engine};
use miniapp_telemetry::Telemetry;
use miniapp_test_support::timelines;
use miniapp_types::name::QueueName;
use miniapp_types::task::{Event, EventType, Status};
use miniapp_worker::kinds::Kinds;
use miniapp_worker::{Dependencies, Isolation, WorkerConfig};
use serde_json::Value;
use serde_json::value::to_raw_value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::worker::kinds::{Gate, kinds};

const OWNER: Uuid = Uuid::from_u128(1);
/// The file of the embedded store.
const STORE: &str = "tasks.db";
const TIMEOUT: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_millis(1500);

/// A store, a broker, maintenance and kinds, without a worker.
pub struct Platform {
    pub tasks: Tasks,
    pub broker: Arc<MemoryBroker>,
    pub gate: Gate,
    pub config: WorkerConfig,
    isolation: Isolation,
    clock: Arc<dyn Clock>,
    database: Database,
    maintenance: Shutdown,
    files: TempDir,
}

/// A running worker.
pub struct Worker {
    pub shutdown: Shutdown,
    running: JoinHandle<()>,
}

impl Worker {
    /// Waits until it has stopped.
    pub async fn stopped(self) {
        let stopped = tokio::time::timeout(TIMEOUT, self.running).await;
        stopped.expect("stops in time").expect("stops without a panic");
    }
}

impl Platform {
    pub async fn start() -> Self {
        Self::with_clock(Arc::new(SystemClock)).await
    }

    pub async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let url = EngineUrl::new(format!("sqlite://{}", files.path().join(STORE).display()));
        let database =
            Database { url, pooler: None, synchronous: Synchronous::Normal, connections: 1 };
        Self::open(files, database, clock).await
    }

    /// Uses another database than the embedded one.
    pub async fn on(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self::open(tempfile::tempdir().expect("a directory"), database, clock).await
    }

    async fn open(files: TempDir, database: Database, clock: Arc<dyn Clock>) -> Self {
        let broker = Arc::new(MemoryBroker::new());
        let maintenance = Shutdown::new();
        let tasks = open(&database, &broker, &clock, &maintenance).await;
        let defaults = Config::defaults_in(files.path()).expect("the defaults");
        let mut config: WorkerConfig = defaults.section().expect("a section");
        config.lease = LEASE;
        config.concurrency = 4;
        Self {
            tasks,
            broker,
            gate: Gate::new(),
            config,
            isolation: Isolation::default(),
            clock,
            database,
            maintenance,
            files,
        }
    }

    /// Starts a worker.
    pub fn worker(&self) -> Worker {
        self.worker_of(kinds(&self.gate, &self.config))
    }

    /// Starts a worker with these kinds.
    pub fn worker_of(&self, kinds: Kinds) -> Worker {
        let deps = Dependencies {
            tasks: self.tasks.clone(),
            broker: self.broker.clone(),
            clock: self.clock.clone(),
            kinds: Arc::new(kinds),
            isolation: self.isolation.clone(),
            seed: rand::random(),
        };
        let (config, shutdown) = (self.config.clone(), Shutdown::new());
        let stop = shutdown.clone();
        let running = tokio::spawn(async move { miniapp_worker::run(&config, deps, stop).await });
        Worker { shutdown, running }
    }

    /// The telemetry of the test process.
    pub fn telemetry(&self) -> Telemetry {
        let config = Config::defaults_in(self.files.path()).expect("the defaults");
        miniapp_telemetry::init(miniapp_worker::PROGRAM.info(), &config).expect("telemetry")
    }

    /// Expires every lease, as if all workers had been silent.
    pub async fn expire_leases(&self) {
        let stop = Shutdown::new();
        // Maintenance of a second process, whose own broker has none of the workers.
        let other_broker = Arc::new(MemoryBroker::new());
        open(&self.database, &other_broker, &self.clock, &stop).await;
        self.until("the leases are lost", async || {
            self.list().await.iter().all(|task| task.state.status != Status::Executing)
        })
        .await;
        stop.abort();
    }

    /// Submits a task with a ttl of a minute and two attempts.
    pub async fn submit(&self, kind: &str, data: Value) -> Uuid {
        self.submit_with(kind, data, |_| {}).await
    }

    pub async fn submit_with(
        &self,
        kind: &str,
        data: Value,
        with: impl FnOnce(&mut NewTask),
    ) -> Uuid {
        let mut task = NewTask {
            owner: OWNER,
            kind: kind.to_owned(),
            queue: QueueName::default(),
            description: "a test".into(),
            data: to_raw_value(&data).expect("JSON"),
            ttl: 60,
            max_attempts: 2,
            run_at: None,
            key: None,
            trace: miniapp_types::trace::TraceContext::default(),
        };
        with(&mut task);
        self.tasks.submit(task).await.expect("accepted").task.id
    }

    pub async fn cancel(&self, id: Uuid) {
        self.tasks.cancel(OWNER, id).await.expect("can be canceled");
    }

    pub async fn restart(&self, id: Uuid) {
        self.tasks.restart(OWNER, id).await.expect("can be restarted");
    }

    pub async fn publish(&self, message: Message) {
        let answers = self.broker.publish(Queue::Tasks, vec![message]).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    pub async fn task(&self, id: Uuid) -> Task {
        self.tasks.get(OWNER, id).await.expect("an answer").expect("is there")
    }

    async fn list(&self) -> Vec<Task> {
        let filter = miniapp_tasks::Filter { limit: 200, ..miniapp_tasks::Filter::default() };
        self.tasks.list(&filter).await.expect("an answer")
    }

    pub async fn events(&self, id: Uuid) -> Vec<Event> {
        timelines::of_task(&self.tasks, OWNER, id).await.expect("an answer").expect("is there")
    }

    /// Returns the types of the events of a task, without progress.
    pub async fn event_types(&self, id: Uuid) -> Vec<EventType> {
        let events = self.events(id).await.into_iter().map(|event| event.kind);
        events.filter(|kind| *kind != EventType::Progress).collect()
    }

    /// Waits until a task has ended.
    pub async fn ended(&self, id: Uuid) -> Task {
        self.until("the task ends", async || self.task(id).await.state.status.is_terminal()).await;
        self.task(id).await
    }

    /// Waits until the queue is empty.
    pub async fn queue_is_empty(&self) {
        self.wait_for_depth(Queue::Tasks, 0).await;
    }

    /// Waits until a queue has this many messages.
    pub async fn wait_for_depth(&self, queue: Queue, count: u64) {
        let is_so = async || self.broker.depth(queue).await.is_ok_and(|depth| depth == count);
        self.until(&format!("{count} messages are in {queue:?}"), is_so).await;
    }

    /// Makes every change of a task fail.
    pub async fn break_store(&self) {
        self.execute(
            "CREATE TRIGGER outage BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'outage'); END",
        )
        .await;
    }

    /// Makes remembering a step fail.
    pub async fn break_steps(&self) {
        self.execute(
            "CREATE TRIGGER outage BEFORE INSERT ON task_steps \
             BEGIN SELECT RAISE(ABORT, 'outage'); END",
        )
        .await;
    }

    /// Ends the outage.
    pub async fn repair_store(&self) {
        self.execute("DROP TRIGGER outage").await;
    }

    async fn execute(&self, statement: &'static str) {
        let file = SqliteConnectOptions::new().filename(self.files.path().join(STORE));
        let mut connection = file.connect().await.expect("a connection");
        sqlx::query(statement).execute(&mut connection).await.expect("a valid statement");
    }

    pub async fn until(&self, what: &str, reached: impl AsyncFn() -> bool) {
        let polling = async {
            while !reached().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            tokio::time::timeout(TIMEOUT, polling).await.is_ok(),
            "timed out waiting until {what}"
        );
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.maintenance.abort();
    }
}

/// Opens the store and starts its maintenance.
async fn open(
    database: &Database,
    broker: &Arc<MemoryBroker>,
    clock: &Arc<dyn Clock>,
    stop: &Shutdown,
) -> Tasks {
    let engine = open_engine(database).await.expect("a store");
    let hour = SignedDuration::from_hours(1);
    let retention = Retention { ended: hour, removed: hour };
    let runtime = Runtime::new(engine, clock.clone(), broker.clone(), retention, LEASE);
    let tasks = runtime.tasks().clone();
    tokio::spawn(runtime.run_until(stop.clone()));
    tasks
}
