//! Reports that the worker is alive.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_tasks::engine::WorkerReport;
use miniapp_types::task::Worker;
use tokio::time::sleep;

use crate::runner::Runner;

/// A third of the time after which a silent worker counts as gone.
const INTERVAL: Duration = Duration::from_secs(5);

/// Announces the kinds, then reports periodically.
pub(crate) async fn run(runner: &Runner, capacity: u16) {
    let started_at = runner.clock.now();
    let mut retry = runner.retry("reporting this worker");
    let mut announced = false;
    loop {
        let reported = async {
            if !announced {
                runner.tasks.announce_kinds(&runner.kinds.catalog()).await?;
                announced = true;
            }
            runner.tasks.report_worker(&report(runner, capacity, started_at)).await
        };
        let wait = match reported.await {
            Ok(()) => {
                retry.recovered();
                INTERVAL
            }
            Err(error) => retry.failed(&error),
        };
        sleep(wait).await;
    }
}

fn report(runner: &Runner, capacity: u16, started_at: Timestamp) -> WorkerReport {
    let catalog = runner.kinds.catalog().into_iter();
    let schemas = catalog.map(|kind| (kind.name, kind.data_schema)).collect();
    let worker = Worker {
        name: runner.name.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kinds: runner.kinds.names(),
        queues: runner.runs.queues.clone(),
        running: u32::try_from(runner.running.count()).unwrap_or(u32::MAX),
        capacity: capacity.into(),
        started_at,
        last_seen_at: runner.clock.now(),
    };
    WorkerReport { worker, schemas, has_kind_queues: true, is_remote: false }
}
