//! Many concurrent tasks, from the first request to the end of the last task.

use std::time::{Duration, Instant};

use anyhow::ensure;
use miniapp_types::task::Stats;
use uuid::Uuid;

use super::idle::{Accepted, echo};
use crate::load::{self, Connection, Endpoint, Load, per_second};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Without progress for this long, tasks are lost.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Tasks that were submitted and have finished.
#[derive(Debug)]
pub struct Throughput {
    pub submissions: Load,
    /// From the first submission to the end of the last task.
    pub elapsed: Duration,
}

impl Throughput {
    /// Returns the finished tasks per second.
    pub fn finished_rate(&self) -> f64 {
        per_second(self.submissions.latencies.count(), self.elapsed)
    }

    /// Divides a total by the number of tasks.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn per_task(&self, total: f64) -> f64 {
        total / self.submissions.latencies.count() as f64
    }

    pub fn ids(&self) -> &[Uuid] {
        &self.submissions.ids
    }
}

/// Submits `tasks` echo tasks by `clients` concurrent clients and waits until all have
/// finished.
pub async fn run(endpoint: &Endpoint, clients: u16, tasks: u64) -> anyhow::Result<Throughput> {
    let before = count_finished(&mut Connection::open(endpoint).await?, endpoint).await?;
    let start = Instant::now();
    let submissions = submit(endpoint, clients, tasks).await?;
    wait_until_finished(endpoint, before + tasks).await?;
    Ok(Throughput { submissions, elapsed: start.elapsed() })
}

/// Submits `tasks` echo tasks by `clients` concurrent clients.
pub async fn submit(endpoint: &Endpoint, clients: u16, tasks: u64) -> anyhow::Result<Load> {
    let requester = endpoint.clone();
    load::run(
        endpoint,
        clients,
        tasks,
        move |number| requester.post("/api/tasks", echo(number)),
        |body| serde_json::from_slice::<Accepted>(body).ok().map(|accepted| accepted.task_id),
    )
    .await
}

async fn wait_until_finished(endpoint: &Endpoint, expected: u64) -> anyhow::Result<()> {
    // A new connection: the platform has closed those that were idle during the load.
    let mut connection = Connection::open(endpoint).await?;
    let (mut most, mut progressed) = (0, Instant::now());
    loop {
        let finished = count_finished(&mut connection, endpoint).await?;
        if finished >= expected {
            return Ok(());
        }
        if finished > most {
            (most, progressed) = (finished, Instant::now());
        }
        ensure!(
            progressed.elapsed() < TIMEOUT,
            "{} tasks are unfinished, and none has finished for {} s",
            expected - finished,
            TIMEOUT.as_secs()
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn count_finished(connection: &mut Connection, endpoint: &Endpoint) -> anyhow::Result<u64> {
    let body = connection.fetch(endpoint.get("/api/stats")).await?;
    Ok(serde_json::from_slice::<Stats>(&body)?.by_status.finished)
}
