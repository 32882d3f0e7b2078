//! Tasks together with the background loops that keep them moving, for one process.

use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::Broker;
use miniapp_config::Database;
use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::config::{LeaseConfig, RetentionConfig};
use crate::engine::{Engine, StoreError};
use crate::event_publisher;
use crate::maintenance::{self, Queues, Retention};
use crate::open::open_engine;
use crate::process_lease::{ProcessLease, ProcessLeaseError};
use crate::tasks::Tasks;
use crate::writer::{CommitListeners, Writer};

/// Maximum number of due tasks queued for the relay; the relay polls the store for the rest.
const DUE_QUEUE_CAPACITY: usize = 32 * 1024;

/// [`Tasks`] and their background loops. Nothing is dispatched until it runs, and each
/// process runs it once.
pub struct Runtime {
    tasks: Tasks,
    engine: Arc<dyn Engine>,
    broker: Arc<dyn Broker>,
    retention: Retention,
    lease: Duration,
    queues: Queues,
}

impl Runtime {
    /// Opens the store named by the configuration.
    pub async fn open(
        database: &Database,
        retention: &RetentionConfig,
        lease: &LeaseConfig,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let engine = open_engine(database).await?;
        Ok(Self::new(engine, clock, broker, retention.into(), lease.lease))
    }

    /// `lease` is the duration of the leases of the workers.
    pub fn new(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        broker: Arc<dyn Broker>,
        retention: Retention,
        lease: Duration,
    ) -> Self {
        let (due_sender, due_tasks) = mpsc::channel(DUE_QUEUE_CAPACITY);
        let (publisher, events) = event_publisher::channel();
        let listeners = CommitListeners { due_tasks: due_sender, events: publisher };
        let writer = Writer::new(engine.clone(), clock.clone(), listeners);
        let tasks = Tasks::new(engine.clone(), clock, writer);
        Self { tasks, engine, broker, retention, lease, queues: Queues { due_tasks, events } }
    }

    /// Takes the lease of the whole database for this `process`, a description for people. A
    /// process whose broker reaches no other process needs it.
    pub async fn take_process_lease(
        &self,
        process: String,
    ) -> Result<ProcessLease, ProcessLeaseError> {
        ProcessLease::take(self.engine.clone(), process).await
    }

    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Runs the loops while `work` runs, then drains them: the last commits of `work` are
    /// still dispatched and published.
    ///
    /// # Errors
    ///
    /// Returns an error and drops `work` if a loop panicked, because a process whose tasks do
    /// not move is of no use.
    pub async fn run<T>(self, work: impl Future<Output = T>) -> Result<T, JoinError> {
        let drained = Shutdown::new();
        let mut loops = tokio::spawn(self.run_until(drained.clone()));
        tokio::pin!(work);
        let output = tokio::select! {
            output = &mut work => output,
            // The loops return only after `drained` has begun, so this is a panic.
            Err(error) = &mut loops => return Err(error),
        };
        drained.begin();
        loops.await?;
        Ok(output)
    }

    /// Runs the loops until `stop`, then drains them.
    ///
    /// Services drain while the loops still run, so `stop` is not the process's shutdown
    /// signal but its end.
    pub async fn run_until(self, stop: Shutdown) {
        let Self { tasks, engine: _, broker, retention, lease, queues } = self;
        maintenance::run(&tasks, &broker, retention, lease, queues, &stop).await;
    }
}
