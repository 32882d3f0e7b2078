//! Measures the platform in one process.

mod limits;
mod platform;
mod tokens;
mod usage;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use miniapp_client::Secret;

use crate::expectations::Expectations;
use crate::figures::{Figure, Figures, Unit};
use crate::load::{Endpoint, measure_bare_server, settle};
use crate::phases::{Bench, Throughput};
use crate::plan::Plan;
use crate::progress::progress;
use platform::EmbeddedPlatform;
use usage::{Cost, Meter};

/// Options of `bench embedded`.
#[derive(Debug, clap::Args)]
#[command(long_about = "Measure the platform in one process on SQLite.\n\n\
    Starts `miniapp` on free ports and in a temporary directory, and measures the limits of \
    the machine in the same run: a bare HTTP server under the same load, and rows that SQLite \
    inserts. With --api, measures a running platform instead.")]
pub struct Args {
    #[command(flatten)]
    pub plan: Plan,
    /// Measure the running platform whose API is at this address
    #[arg(long, value_name = "ADDRESS", requires = "token")]
    api: Option<SocketAddr>,
    /// Access token for the platform at --api
    #[arg(long, env = "BENCH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Admin address of the platform at --api, for memory and processor time
    #[arg(long, value_name = "ADDRESS", requires = "api")]
    admin: Option<SocketAddr>,
}

pub async fn run(args: &Args) -> anyhow::Result<Figures> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let mut figures = Figures::default();
    progress("the limits of this machine");
    measure_limits(args.plan, directory.path(), &mut figures).await?;
    if let (Some(api), Some(token)) = (args.api, &args.token) {
        let endpoint = Endpoint::new(api, Some(&Secret::new(token)))?;
        measure(endpoint, args.admin, args.plan, &mut figures).await?;
    } else {
        let mut platform = EmbeddedPlatform::start(directory.path()).await?;
        let start_up = Figure::millis("start", "Start, exec to listening", platform.start_up);
        figures.add(start_up.at_most(1000.0));
        let client = platform.sign_up().await?;
        progress("tokens");
        measure_tokens(&mut figures).await?;
        let session = client.session().context("not signed in")?;
        let addresses = platform.addresses;
        let endpoint = Endpoint::new(addresses.api, Some(&session.access_token))?;
        measure(endpoint, Some(addresses.admin), args.plan, &mut figures).await?;
        platform.stop()?;
    }
    Ok(figures)
}

async fn measure_limits(plan: Plan, directory: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    let bare_server = measure_bare_server(plan.readers, plan.gets).await?;
    figures.add(Figure::rate("limit.http", "Limit: bare server", bare_server.rate()));
    let rows = limits::insert_rows(directory).await?;
    figures.add(Figure::rate("limit.rows", "Limit: rows in batches", rows.per_second));
    figures.add(Figure::millis("limit.commit", "Limit: one commit, p50", rows.commit.p50()));
    Ok(())
}

async fn measure_tokens(figures: &mut Figures) -> anyhow::Result<()> {
    let latencies = tokens::run().await?;
    let known = Figure::micros("token.seen", "Token seen before, p50", latencies.known.p50());
    figures.add(known.at_most(10.0));
    let new = Figure::micros("token.fresh", "Token for the first time, p50", latencies.new.p50());
    figures.add(new.at_most(100.0));
    Ok(())
}

/// Runs all phases. `admin` is where the platform reports its resource usage, if known.
async fn measure(
    endpoint: Endpoint,
    admin: Option<SocketAddr>,
    plan: Plan,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut bench = Bench::new(endpoint, plan, Expectations::EMBEDDED, figures);
    let before = memory(admin).await?;
    let baseline = match plan.growth {
        Some(stored) => Some((bench.baseline().await?, stored)),
        None => None,
    };
    bench.idle().await?;
    settle().await;
    let meter = match admin {
        Some(admin) => Some(Meter::start(admin).await?),
        None => None,
    };
    let many = bench.concurrent().await?;
    let cost = match meter {
        Some(meter) => Some(meter.stop().await?),
        None => None,
    };
    bench.reads(many.ids()).await?;
    if let (Some(cost), Some(before), Some(after)) = (cost, before, memory(admin).await?) {
        let megabytes = |key, name, value| Figure::new(key, name, value, Unit::Megabytes);
        let figures = &mut *bench.figures;
        figures.add(megabytes("memory.before", "Memory before", before));
        let peak = megabytes("memory.peak", "Memory at most", cost.peak_megabytes.max(after));
        figures.add(peak.at_most(100.0));
        figures.add(megabytes("memory.after", "Memory after", after));
        add_cpu_time(&many, cost, figures);
    }
    if let Some((baseline, stored)) = baseline {
        let missing = stored.saturating_sub(bench.stored);
        bench.store(missing).await?;
        bench.growth(&baseline, stored).await?;
    }
    Ok(())
}

async fn memory(admin: Option<SocketAddr>) -> anyhow::Result<Option<f64>> {
    match admin {
        Some(admin) => Ok(Some(usage::fetch(admin).await?.megabytes)),
        None => Ok(None),
    }
}

fn add_cpu_time(many: &Throughput, cost: Cost, figures: &mut Figures) {
    let elapsed = many.elapsed.as_secs_f64();
    for (key, name, seconds) in [
        ("platform", "Platform", cost.platform_seconds),
        ("generator", "Load generator", cost.generator_seconds),
    ] {
        let per_task = many.per_task(seconds) * 1e6;
        let title = format!("{name}: processor time a task");
        figures.add(Figure::new(&format!("cpu.{key}.task"), &title, per_task, Unit::Microseconds));
        let share = seconds / elapsed * 100.0;
        let title = format!("{name}: of one processor");
        figures.add(Figure::new(&format!("cpu.{key}.share"), &title, share, Unit::Percent));
    }
}
