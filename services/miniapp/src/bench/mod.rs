//! Measures a platform over HTTP, and the limits of the machine in the same run.

mod bounds;
mod figures;
mod growth;
mod http;
mod idle;
mod limits;
mod load;
mod phases;
mod reads;
mod server;
mod throughput;
mod tokens;
mod usage;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use miniapp_client::Client;
use miniapp_config::Synchronous;
use miniapp_types::account::Secret;
use sqlx::sqlite::SqliteSynchronous;

pub use bounds::Bounds;
pub use figures::{Bound, Figure, Figures, Target, Unit};
pub use growth::Few;
pub use idle::echo;
pub use limits::hello_world;
pub use load::{Loaded, Times, per_second, settle};
pub use phases::Bench;
pub use server::Server;
pub use throughput::Throughput;

use usage::Meter;

/// How much to do.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Clients that submit at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub clients: u16,
    /// Clients that read at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub readers: u16,
    /// Tasks to submit at once
    #[arg(long, default_value_t = 100_000)]
    pub tasks: u64,
    /// Tasks to submit one after the other
    #[arg(long, default_value_t = 500)]
    pub idle: u32,
    /// Single tasks to read
    #[arg(long, default_value_t = 100_000)]
    pub gets: u64,
    /// Compare 1,000 stored tasks with so many
    #[arg(long, value_name = "TASKS")]
    pub growth: Option<u64>,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where the API is.
    pub api: SocketAddr,
    /// Whose tasks they are.
    pub token: Secret,
}

/// What the machine does at best, with files in `directory`.
pub async fn measure_limits(
    plan: &Plan,
    directory: &Path,
    synchronous: Synchronous,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let hello = hello_world(plan.readers, plan.gets).await?;
    figures.add(Figure::rate("limit.http", "Limit: bare server", hello.rate()));
    let synchronous = match synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
    };
    let rows = limits::sqlite_rows(directory, synchronous).await?;
    figures.add(Figure::rate("limit.rows", "Limit: rows in batches", rows.per_second));
    figures.add(Figure::time("limit.commit", "Limit: one commit, p50", rows.commit.p50()));
    Ok(())
}

/// Measures a platform from all sides. What it takes it tells at `admin`, if known.
pub async fn measure(bench: &mut Bench<'_>, admin: Option<SocketAddr>) -> anyhow::Result<()> {
    let memory = async || match admin {
        Some(admin) => usage::usage(admin).await.map(|usage| Some(usage.megabytes)),
        None => Ok(None),
    };
    let before = memory().await?;
    let few = match bench.plan.growth {
        Some(stored) => Some((bench.few_stored().await?, stored)),
        None => None,
    };
    bench.one_at_a_time().await?;
    settle().await;
    let meter = match admin {
        Some(admin) => Some(Meter::begin(admin).await?),
        None => None,
    };
    let many = bench.many_at_once().await?;
    let cost = match meter {
        Some(meter) => Some(meter.end().await?),
        None => None,
    };
    bench.reads(many.ids()).await?;
    if let (Some(cost), Some(before), Some(after)) = (cost, before, memory().await?) {
        let megabytes = |key, name, value| Figure::new(key, name, value, Unit::Megabytes);
        let figures = &mut *bench.figures;
        figures.add(megabytes("memory.before", "Memory before", before));
        let peak = megabytes("memory.peak", "Memory at most", cost.peak.max(after));
        figures.add(peak.at_most(100.0));
        figures.add(megabytes("memory.after", "Memory after", after));
        add_processor(&many, cost, figures);
    }
    if let Some((few, stored)) = few {
        let missing = stored.saturating_sub(bench.stored);
        bench.store(missing).await?;
        bench.many_stored(&few, stored).await?;
    }
    Ok(())
}

/// When a platform started for the bench was there.
pub fn add_start_up(start_up: Duration, figures: &mut Figures) {
    figures.add(Figure::time("start", "Start, exec to listening", start_up).at_most(1000.0));
}

/// What the check of a token costs.
pub async fn measure_tokens(client: &Client, figures: &mut Figures) -> anyhow::Result<()> {
    let checks = tokens::run(client).await?;
    let (seen, fresh) = (checks.seen.p50(), checks.fresh.p50());
    figures.add(Figure::micros("token.seen", "Token seen before, p50", seen).at_most(10.0));
    figures
        .add(Figure::micros("token.fresh", "Token for the first time, p50", fresh).at_most(100.0));
    Ok(())
}

/// What a task costs the processors, and how much of them was left to the platform.
fn add_processor(many: &Throughput, cost: usage::Cost, figures: &mut Figures) {
    let seconds = many.whole.as_secs_f64();
    for (key, name, processor) in
        [("platform", "Platform", cost.platform), ("generator", "Load generator", cost.generator)]
    {
        let each = many.each(processor) * 1e6;
        let name_each = format!("{name}: processor time a task");
        figures.add(Figure::new(&format!("cpu.{key}.task"), &name_each, each, Unit::Microseconds));
        let share = processor / seconds * 100.0;
        let name_share = format!("{name}: of one processor");
        figures.add(Figure::new(&format!("cpu.{key}.share"), &name_share, share, Unit::Percent));
    }
}
