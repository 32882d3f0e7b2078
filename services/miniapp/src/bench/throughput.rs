//! Many tasks at once, from the first request to the end of the last one.

use std::time::{Duration, Instant};

use miniapp_types::task::Stats;
use uuid::Uuid;

use super::http::{Connection, Target};
use super::idle::{Accepted, echo};
use super::load::{self, Loaded, per_second};

/// How often the platform is asked whether all have ended.
const PACE: Duration = Duration::from_millis(50);
/// Without progress for this long, tasks are lost.
const PATIENCE: Duration = Duration::from_mins(1);

/// How it went.
#[derive(Debug)]
pub struct Throughput {
    /// The submissions.
    pub submitted: Loaded,
    /// From the first submission to the end of the last task.
    pub whole: Duration,
}

impl Throughput {
    /// Tasks finished a second.
    pub fn finished_rate(&self) -> f64 {
        per_second(self.submitted.times.count(), self.whole)
    }

    /// How much of `sum` each task has.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn each(&self, sum: f64) -> f64 {
        sum / self.submitted.times.count() as f64
    }

    /// The tasks.
    pub fn ids(&self) -> &[Uuid] {
        &self.submitted.kept
    }
}

/// Submits `tasks` echo tasks by `clients` at once and waits until all have finished.
pub async fn run(target: &Target, clients: u16, tasks: u64) -> anyhow::Result<Throughput> {
    let before = finished(&mut Connection::open(target).await?, target).await?;
    let begin = Instant::now();
    let submitted = submit(target, clients, tasks).await?;
    all_finished(target, before + tasks).await?;
    Ok(Throughput { submitted, whole: begin.elapsed() })
}

/// Submits `tasks` echo tasks by `clients` at once.
pub async fn submit(target: &Target, clients: u16, tasks: u64) -> anyhow::Result<Loaded> {
    let requester = target.clone();
    load::run(
        target,
        clients,
        tasks,
        move |number| requester.post("/api/tasks", echo(number)),
        |body| serde_json::from_slice::<Accepted>(body).ok().map(|accepted| accepted.task_id),
    )
    .await
}

async fn all_finished(target: &Target, wanted: u64) -> anyhow::Result<()> {
    // Not the connection of before the load: the platform ends one that idles for long.
    let mut asking = Connection::open(target).await?;
    let (mut most, mut moved) = (0, Instant::now());
    loop {
        let now = finished(&mut asking, target).await?;
        if now >= wanted {
            return Ok(());
        }
        if now > most {
            (most, moved) = (now, Instant::now());
        }
        anyhow::ensure!(
            moved.elapsed() < PATIENCE,
            "{} tasks have not finished, and none did for {} s",
            wanted - now,
            PATIENCE.as_secs()
        );
        tokio::time::sleep(PACE).await;
    }
}

async fn finished(asking: &mut Connection, target: &Target) -> anyhow::Result<u64> {
    let body = asking.ask(target.get("/api/stats")).await?;
    Ok(serde_json::from_slice::<Stats>(&body)?.by_status.finished)
}
