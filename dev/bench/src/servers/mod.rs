//! Measures separate services on PostgreSQL and RabbitMQ.

mod counts;
mod growth;
mod limits;
mod outage;
mod platform;

use anyhow::Context as _;

use crate::expectations::Expectations;
use crate::figures::Figures;
use crate::load::settle;
use crate::phases::Bench;
use crate::plan::Plan;
use crate::progress::progress;
use limits::Limits;
use platform::{Replicas, Servers};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub plan: Plan,
    #[command(flatten)]
    replicas: Replicas,
    /// Stop RabbitMQ for 30 s while 20,000 tasks are submitted
    #[arg(long)]
    outage: bool,
    /// Do not measure the limits of the machine
    #[arg(long)]
    no_limits: bool,
}

pub async fn run(args: &Args) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    eprintln!("Starting PostgreSQL and RabbitMQ ...");
    let servers = Servers::start().await?;
    let mut expectations = Expectations::SERVERS;
    if !args.no_limits {
        progress("the limits of this machine");
        let limits = Limits::measure(&servers, &args.plan, &mut figures).await?;
        limits.apply_to(&mut expectations);
    }
    let platform = servers.start_platform(&args.replicas).await?;
    let endpoint = platform.sign_up().await?;
    let processes = platform.processes()?;

    let mut bench = Bench::new(endpoint, args.plan, expectations, &mut figures);
    let baseline = match args.plan.growth {
        Some(stored) => Some((bench.baseline().await?, stored)),
        None => None,
    };
    bench.idle().await?;

    let counters = counts::Counters::read(&platform).await?;
    settle().await;
    processes.reset_peak_memory()?;
    let before = processes.cpu_times()?;
    let many = bench.concurrent().await?;
    let after = processes.cpu_times()?;
    let counts = counters.since(&platform, &many).await?;
    bench.reads(many.ids()).await?;
    processes.add_cpu_times(&before, &after, &many, bench.figures);
    processes.add_peak_memory(bench.figures)?;
    counts.add_to(bench.figures, &many);

    if args.outage {
        progress("an outage of the broker");
        outage::run(&platform, &bench).await?.add_to(bench.figures);
    }
    if let Some((baseline, stored)) = baseline {
        growth::fill(&platform, stored).await.context("cannot fill the database")?;
        bench.growth(&baseline, stored).await?;
    }
    Ok(figures)
}
