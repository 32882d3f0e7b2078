//! Runs tasks.
//!
//! A worker takes as many messages from the queue as it can run tasks at a time. For each
//! it claims the task, runs the code of its [kind](kinds), commits the outcome and then
//! acknowledges the message: whatever breaks in between, another worker makes another
//! attempt. Beside that it renews its leases, listens for cancels, stores progress and
//! reports that it is there.

mod attempt;
mod cancels;
mod config;
mod consumer;
mod context;
mod heartbeat;
pub mod kinds;
mod leases;
mod metrics;
mod name;
mod outcome;
mod progress;
mod runner;
mod running;
mod service;
mod spans;

use std::sync::Arc;

use miniapp_broker::Broker;
use miniapp_program::Program;
use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::Tasks;
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::Notify;

use crate::kinds::Kinds;
use crate::runner::Runner;
use crate::running::Running;

pub use config::WorkerConfig;
pub use service::serve;

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

/// What a worker needs.
#[derive(Clone)]
pub struct Dependencies {
    /// Where tasks are claimed and outcomes committed.
    pub tasks: Tasks,
    /// Where messages come from.
    pub broker: Arc<dyn Broker>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What it can run.
    pub kinds: Arc<Kinds>,
    /// Where its randomness begins: how waits are spread, and what kinds draw.
    pub seed: u64,
}

/// Runs one worker until `shutdown` is complete: after its first step no task is taken and
/// running ones have `worker.grace` to end; what is left then is handed back. After the
/// second all is dropped.
pub async fn run(config: &WorkerConfig, deps: Dependencies, shutdown: Shutdown) {
    let Dependencies { tasks, broker, clock, kinds, seed } = deps;
    let runner = Arc::new(Runner {
        name: name::next(config.name.as_deref()).into(),
        tasks,
        clock,
        kinds,
        lease: config.lease,
        running: Running::default(),
        progressed: Arc::default(),
        rng: Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
        shutdown: shutdown.clone(),
    });
    tracing::info!(worker = %runner.name, concurrency = config.concurrency, "worker started");
    let _slots = metrics::Slots::open(config.concurrency, &runner.kinds);
    let renew = Notify::new();
    let consuming = consumer::run(&runner, broker.as_ref(), config.concurrency, config.grace);
    let keeping = async {
        tokio::join!(
            leases::run(&runner, &renew),
            cancels::run(&runner, broker.as_ref(), &renew),
            progress::run(&runner),
            heartbeat::run(&runner, config.concurrency),
        )
    };
    tokio::select! {
        biased;
        () = consuming => {}
        // Kept up until the last attempt has ended.
        _ = keeping => {}
        () = shutdown.aborted() => return,
    }
    if let Err(error) = runner.tasks.forget_worker(&runner.name).await {
        tracing::warn!(%error, "could not deregister the worker");
    }
    tracing::info!(worker = %runner.name, "worker stopped");
}
