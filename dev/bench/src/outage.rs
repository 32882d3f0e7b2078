//! RabbitMQ is away for a while, and tasks come in all along.

use std::time::{Duration, Instant};

use miniapp::bench::{Bench, Figure, Figures, Times};

use crate::servers::Platform;

/// How long it is away.
const AWAY: Duration = Duration::from_secs(30);
/// Tasks that come in meanwhile.
const TASKS: u64 = 20_000;
/// They come in as many parts, so that some come at any time.
const PARTS: u64 = 30;
/// How often to look whether all were dispatched.
const PACE: Duration = Duration::from_millis(50);
/// What wasn't dispatched by then never will be.
const PATIENCE: Duration = Duration::from_mins(2);

/// How it went.
pub struct Outage {
    submits: Times,
    dispatched: Duration,
    finished: Duration,
}

impl Outage {
    /// Adds it.
    pub fn add_to(&self, figures: &mut Figures) {
        let slowest = self.submits.percentile(100.0);
        figures.add(Figure::time("outage.submit", "Outage: slowest submit", slowest));
        let name = "Outage: broker back to all dispatched";
        let dispatched = Figure::time("outage.dispatched", name, self.dispatched);
        figures.add(dispatched.at_most(15_000.0));
        let name = "Outage: broker back to all finished";
        figures.add(Figure::time("outage.finished", name, self.finished));
    }
}

/// Stops the broker, submits, starts it again, and waits for the tasks.
pub async fn run(platform: &Platform<'_>, bench: &Bench<'_>) -> anyhow::Result<Outage> {
    let broker = &platform.servers.rabbit;
    broker.stop().await?;
    let begin = Instant::now();
    let mut submits = Times::default();
    for part in 0..PARTS {
        let share = u32::try_from(part)? * AWAY / u32::try_from(PARTS)?;
        tokio::time::sleep_until((begin + share).into()).await;
        submits.add(&bench.submit(TASKS / PARTS).await?.times);
    }
    tokio::time::sleep_until((begin + AWAY).into()).await;
    broker.resume().await?;
    let back = Instant::now();
    let dispatched = none_left(platform, "due_at IS NOT NULL").await? - back;
    let finished = none_left(platform, "status < 2").await? - back;
    Ok(Outage { submits, dispatched, finished })
}

/// When there was no task left of which `condition` is true.
async fn none_left(platform: &Platform<'_>, condition: &'static str) -> anyhow::Result<Instant> {
    let mut connection = platform.connect().await?;
    let late = Instant::now() + PATIENCE;
    let question = format!("SELECT count(*) FROM tasks WHERE {condition}");
    loop {
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(question.clone()))
            .fetch_one(&mut connection)
            .await?;
        let now = Instant::now();
        if left == 0 {
            return Ok(now);
        }
        anyhow::ensure!(now < late, "{left} tasks are left with {condition}");
        tokio::time::sleep(PACE).await;
    }
}
