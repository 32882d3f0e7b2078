//! An outage of RabbitMQ while tasks are submitted.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::platform::Platform;
use crate::figures::{Figure, Figures};
use crate::load::Latencies;
use crate::phases::Bench;

const DURATION: Duration = Duration::from_secs(30);
/// Tasks that are submitted during the outage, in equal parts.
const TASKS: u64 = 20_000;
const PARTS: u64 = 30;
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_mins(2);

/// Latencies during the outage, and durations after it.
pub struct Outage {
    submissions: Latencies,
    dispatched: Duration,
    finished: Duration,
}

impl Outage {
    pub fn add_to(&self, figures: &mut Figures) {
        let slowest = self.submissions.percentile(100.0);
        figures.add(Figure::millis("outage.submit", "Outage: slowest submit", slowest));
        let name = "Outage: broker back to all dispatched";
        let dispatched = Figure::millis("outage.dispatched", name, self.dispatched);
        figures.add(dispatched.at_most(15_000.0));
        let name = "Outage: broker back to all finished";
        figures.add(Figure::millis("outage.finished", name, self.finished));
    }
}

/// Stops the broker, submits tasks, starts it again, and waits for the tasks.
pub async fn run(platform: &Platform<'_>, bench: &Bench<'_>) -> anyhow::Result<Outage> {
    let broker = &platform.servers.rabbit;
    broker.stop().await?;
    let start = Instant::now();
    let mut submissions = Latencies::default();
    for part in 0..PARTS {
        let offset = u32::try_from(part)? * DURATION / u32::try_from(PARTS)?;
        tokio::time::sleep_until((start + offset).into()).await;
        submissions.merge(&bench.submit(TASKS / PARTS).await?.latencies);
    }
    tokio::time::sleep_until((start + DURATION).into()).await;
    broker.resume().await?;
    let resumed = Instant::now();
    let dispatched = wait_until_none(platform, "due_at IS NOT NULL").await? - resumed;
    let finished = wait_until_none(platform, "status < 2").await? - resumed;
    Ok(Outage { submissions, dispatched, finished })
}

/// Waits until no task matches `condition`, and returns when that was.
async fn wait_until_none(
    platform: &Platform<'_>,
    condition: &'static str,
) -> anyhow::Result<Instant> {
    let mut connection = platform.connect().await?;
    let deadline = Instant::now() + TIMEOUT;
    let query = format!("SELECT count(*) FROM tasks WHERE {condition}");
    loop {
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query.clone()))
            .fetch_one(&mut connection)
            .await?;
        let now = Instant::now();
        if left == 0 {
            return Ok(now);
        }
        ensure!(now < deadline, "{left} tasks are left with {condition}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
