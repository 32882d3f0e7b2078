//! Measures a platform over HTTP, and the limits of the machine in the same run.

mod figures;
mod growth;
mod http;
mod idle;
mod limits;
mod load;
mod reads;
mod server;
mod throughput;
mod tokens;
mod usage;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use contracts::account::Secret;
use kit::config::Synchronous;
use sqlx::sqlite::SqliteSynchronous;

pub use figures::Figures;
pub use server::Server;

use crate::client::Client;
use crate::ui::words::grouped;
use figures::Target::{AtLeast, AtMost};
use figures::Unit;
use http::Target;
use idle::Steps;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients at once.
    pub clients: usize,
    /// Tasks of the throughput phase.
    pub tasks: u64,
    /// Tasks of the idle phase.
    pub rounds: u32,
    /// Reads of single tasks.
    pub gets: u64,
    /// Tasks stored for the growth phase, if there is one.
    pub growth: Option<u64>,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where the API is.
    pub api: SocketAddr,
    /// Where the admin listener is, if known.
    pub admin: Option<SocketAddr>,
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
    let hello = limits::hello_world(plan.clients, plan.gets).await?;
    figures.add("limit.http", "Limit: bare server", hello.rate(), Unit::PerSecond, None);
    let synchronous = match synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
    };
    let rows = limits::sqlite_rows(directory, synchronous).await?;
    figures.add("limit.rows", "Limit: rows in batches", rows.per_second, Unit::PerSecond, None);
    figures.time("limit.commit", "Limit: one commit, p50", rows.commit.p50(), None);
    Ok(())
}

/// Measures `subject` by `plan`; `phase` hears what comes next.
pub async fn measure(
    subject: &Subject,
    plan: &Plan,
    figures: &mut Figures,
    mut phase: impl FnMut(&str),
) -> anyhow::Result<()> {
    let target = Target::new(subject.api, Some(&subject.token))?;
    let memory = async |admin: Option<SocketAddr>| match admin {
        Some(admin) => usage::usage(admin).await.map(|usage| Some(usage.megabytes)),
        None => Ok(None),
    };
    let before = memory(subject.admin).await?;

    if let Some(stored) = plan.growth {
        phase("growth");
        let (few, many) = growth::run(&target, stored).await?;
        for (what, times) in many.compared(&few) {
            let (few, many) = (grouped(growth::FEW), grouped(stored));
            let name = format!("Growth: {what}, {few} to {many} stored");
            figures.add(&format!("growth.{what}"), &name, times, Unit::Times, Some(AtMost(1.5)));
        }
        load::settle().await;
    }

    phase("one task at a time");
    let idle = idle::run(&target, plan.rounds).await?;
    let (p50, p99) = (Some(AtMost(1.5)), Some(AtMost(10.0)));
    figures.times("idle.finished", "Idle: submit to finished event", &idle.whole, p50, p99);
    add_steps(&idle.steps, figures);
    load::settle().await;

    phase("many tasks at once");
    let many = throughput::run(&target, subject.admin, plan.clients, plan.tasks).await?;
    let submitted = many.submitted.rate();
    figures.add("submit.rate", "Submitted", submitted, Unit::PerSecond, Some(AtLeast(8000.0)));
    let finished = many.finished_rate();
    figures.add("finish.rate", "Finished", finished, Unit::PerSecond, Some(AtLeast(8000.0)));
    figures.times("submit", "Submit", &many.submitted.times, None, Some(AtMost(25.0)));
    load::settle().await;

    phase("reads");
    let gets = reads::gets(&target, plan.clients, plan.gets, many.ids()).await?;
    figures.add("get.rate", "Get a task", gets.rate(), Unit::PerSecond, Some(AtLeast(15_000.0)));
    figures.times("get", "Get a task", &gets.times, None, None);
    let lists = reads::lists(&target, plan.clients, plan.gets / 20).await?;
    figures.add("list.rate", "List 50 tasks", lists.rate(), Unit::PerSecond, None);
    figures.times("list", "List 50 tasks", &lists.times, None, None);

    if let (Some(cost), Some(before), Some(after)) =
        (many.cost, before, memory(subject.admin).await?)
    {
        let peak = cost.peak.max(after);
        figures.add("memory.before", "Memory before", before, Unit::Megabytes, None);
        figures.add("memory.peak", "Memory at most", peak, Unit::Megabytes, Some(AtMost(100.0)));
        figures.add("memory.after", "Memory after", after, Unit::Megabytes, None);
        add_processor(&many, cost, figures);
    }
    Ok(())
}

/// When a platform started for the bench was there.
pub fn add_start_up(start_up: Duration, figures: &mut Figures) {
    figures.time("start", "Start, exec to listening", start_up, Some(AtMost(1000.0)));
}

/// Where the time of a task on an idle platform goes.
fn add_steps(steps: &Steps, figures: &mut Figures) {
    figures.parts(&[
        ("idle.arrive", "request to the task's making", steps.arrive.p50()),
        ("idle.dispatch", "its commit, dispatch and claim", steps.dispatch.p50()),
        ("idle.run", "the claim's commit, the run", steps.run.p50()),
        ("idle.tell", "the end's commit, event to the client", steps.tell.p50()),
    ]);
}

/// What the check of a token costs.
pub async fn measure_tokens(client: &Client, figures: &mut Figures) -> anyhow::Result<()> {
    let checks = tokens::run(client).await?;
    let (seen, fresh) = (checks.seen.p50(), checks.fresh.p50());
    figures.micros("token.seen", "Token seen before, p50", seen, Some(AtMost(10.0)));
    figures.micros("token.fresh", "Token for the first time, p50", fresh, Some(AtMost(100.0)));
    Ok(())
}

/// What a task costs the processors, and how much of them was left to the platform.
fn add_processor(many: &throughput::Throughput, cost: throughput::Cost, figures: &mut Figures) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let tasks = many.ids().len() as f64;
    let seconds = many.whole.as_secs_f64();
    for (key, name, processor) in
        [("platform", "Platform", cost.platform), ("generator", "Load generator", cost.generator)]
    {
        let (each, share) = (processor / tasks * 1e6, processor / seconds * 100.0);
        let name_each = format!("{name}: processor time a task");
        figures.add(&format!("cpu.{key}.task"), &name_each, each, Unit::Microseconds, None);
        let name_share = format!("{name}: of one processor");
        figures.add(&format!("cpu.{key}.share"), &name_share, share, Unit::Percent, None);
    }
}
