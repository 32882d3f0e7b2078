//! The worker: runs tasks.
//!
//! A worker consumes messages, each of which offers a task, while it has free slots. It claims the
//! task, acknowledges the message, runs the code of the [kind](kinds) and commits the outcome. If
//! anything fails in between, the lease of the task expires and another worker makes another
//! attempt. In the background, the worker renews its leases, receives cancellations, stores
//! progress and reports that it is alive.

mod attempt;
mod builder;
mod cancellations;
mod claimed;
mod config;
mod consumer;
mod host;
mod isolation;
pub mod kinds;
mod lease_renewal;
mod liveness;
mod metrics;
mod name;
mod observer;
mod outcome;
mod progress;
mod runner;
mod running;
mod secret_headers;
mod service;
mod subscriptions;

use std::sync::Arc;

use miniapp_broker::Broker;
use miniapp_program::Program;
use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::Tasks;
use miniapp_tasks::domain::Capability;
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::Notify;

use crate::kinds::Kinds;
use crate::runner::Runner;
use crate::running::RunningAttempts;

pub use builder::{Builder, Extension, Launch, Worker};
pub use config::WorkerConfig;
pub use isolation::Isolation;
pub use miniapp_kind::{Context, Kind, KindError};

/// The program that consists of this service alone.
pub const PROGRAM: Program = Program {
    name: "worker",
    about: "Runs tasks",
    admin_port: 9001,
    sections: config::SECTIONS,
    version: env!("CARGO_PKG_VERSION"),
    revision: option_env!("MINIAPP_REVISION"),
    keeps_traces: false,
};

/// The dependencies of a worker.
#[derive(Clone)]
pub struct Dependencies {
    pub tasks: Tasks,
    pub broker: Arc<dyn Broker>,
    pub clock: Arc<dyn Clock>,
    pub kinds: Arc<Kinds>,
    /// Shared by the workers of a process.
    pub isolation: Isolation,
    /// The seed of all randomness: jitter of retries, and random numbers for kinds.
    pub seed: u64,
}

/// Runs one worker until shutdown. Then it takes no more tasks, waits up to `worker.grace` for
/// running ones, and releases the rest. An aborted shutdown drops them.
pub async fn run(config: &WorkerConfig, dependencies: Dependencies, shutdown: Shutdown) {
    let Dependencies { tasks, broker, clock, kinds, isolation, seed } = dependencies;
    let runner = Arc::new(Runner {
        name: name::next(config.name.as_deref()).into(),
        tasks,
        clock,
        runs: Arc::new(Capability {
            queues: config.queues(),
            kinds: kinds.names().into_iter().collect(),
            has_kind_queues: true,
        }),
        kinds,
        isolation,
        lease: config.lease,
        grace: config.grace,
        running: RunningAttempts::default(),
        progressed: Arc::default(),
        rng: Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
        shutdown: shutdown.clone(),
    });
    tracing::info!(worker = %runner.name, concurrency = config.concurrency, "worker started");
    let _slots = metrics::SlotsGuard::new(config.concurrency, &runner.kinds);
    let renew = Notify::new();
    let consuming = consumer::run(&runner, broker.clone(), config.concurrency);
    let background = async {
        tokio::join!(
            lease_renewal::run(&runner, &renew),
            cancellations::run(&runner, broker.as_ref(), &renew),
            progress::run(&runner),
            liveness::run(&runner, config.concurrency),
        )
    };
    tokio::select! {
        biased;
        () = consuming => {}
        // Runs until the last attempt has ended.
        _ = background => {}
        () = shutdown.aborted() => return,
    }
    if let Err(error) = runner.tasks.forget_worker(&runner.name).await {
        tracing::warn!(%error, "could not deregister the worker");
    }
    tracing::info!(worker = %runner.name, "worker stopped");
}
