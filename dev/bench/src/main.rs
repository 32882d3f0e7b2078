//! Measures the platform as separate services on PostgreSQL and RabbitMQ, all of them
//! started for that, beside what the two servers do alone on the same machine.

mod counts;
mod growth;
mod limits;
mod outage;
mod processes;
mod servers;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ColorChoice, Parser};
use miniapp::Ui;
use miniapp::bench::{Bench, Bounds, Figures, Plan, settle};

use self::limits::Limits;
use self::servers::{Replicas, Servers};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Starts PostgreSQL, RabbitMQ and the services, measures them over HTTP, and prints what
/// was measured beside what it should be and what the machine could do at best.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    #[command(flatten)]
    plan: Plan,
    #[command(flatten)]
    replicas: Replicas,
    /// Stop RabbitMQ for 30 s while 20,000 tasks come in
    #[arg(long)]
    outage: bool,
    /// Leave out what the machine does at best, to be done sooner
    #[arg(long)]
    no_limits: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let ui = Ui::new(args.json, ColorChoice::Auto);
    match run(&args, ui).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args, ui: Ui) -> anyhow::Result<()> {
    let phase = |name: &str| ui.note(format_args!("Measuring: {name} ..."));
    let mut figures = Figures::default();
    ui.note("Starting PostgreSQL and RabbitMQ ...");
    let servers = Servers::start().await?;
    let mut bounds = Bounds::SERVERS;
    if !args.no_limits {
        phase("the limits of this machine");
        let limits = Limits::measure(&servers, &args.plan, &mut figures).await?;
        limits.bind(&mut bounds);
    }
    let platform = servers.platform(&args.replicas).await?;
    let subject = platform.sign_up().await?;
    let processes = platform.processes()?;

    let mut bench = Bench::new(&subject, args.plan, bounds, &mut figures, phase)?;
    let few = match args.plan.growth {
        Some(stored) => Some((bench.few_stored().await?, stored)),
        None => None,
    };
    bench.one_at_a_time().await?;

    let counting = counts::Counting::begin(&platform).await?;
    settle().await;
    processes.forget_memory()?;
    let before = processes.taken()?;
    let many = bench.many_at_once().await?;
    let after = processes.taken()?;
    let counts = counting.end(&platform, &many).await?;
    bench.reads(many.ids()).await?;
    processes.add_time(&before, &after, &many, bench.figures);
    processes.add_memory(bench.figures)?;
    counts.add_to(bench.figures, &many);

    if args.outage {
        phase("a broker that is away");
        outage::run(&platform, &bench).await?.add_to(bench.figures);
    }
    if let Some((few, stored)) = few {
        growth::fill(&platform, stored).await.context("can't fill the database")?;
        bench.many_stored(&few, stored).await?;
    }
    drop(bench);
    if ui.json {
        return Ok(ui.json(&figures.json())?);
    }
    Ok(ui.line(figures.table(ui.palette))?)
}
