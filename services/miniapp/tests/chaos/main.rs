//! The platform under random faults.
//!
//! Clients submit thousands of tasks to two APIs, and three workers run them, all in separate
//! processes. Meanwhile processes are killed, stopped and frozen, servers crash, and connections
//! are slowed down, stalled and cut. When the faults have stopped, every accepted task must have
//! ended exactly once, and no message, lease or memory may be left over.
//!
//! A seed decides the faults, their times and the requests of clients. Scheduling on the machine
//! differs between runs, so a seed repeats the faults, but not the exact interleaving.
//!
//! `MINIAPP_CHAOS_TASKS` is the number of tasks and `MINIAPP_CHAOS_SEEDS` the number of random
//! seeds; `MINIAPP_TEST_SEED` repeats one. Without them the test takes about a minute.

mod checks;
mod effects;
mod environment;
mod faults;
mod findings;
mod load;
mod plan;
mod request;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;

use crate::checks::Summary;
use crate::environment::Environment;

/// The default number of tasks, which take about a minute.
const TASKS: u64 = 3000;

/// Runs a seed. Fails if a rule is violated.
async fn run_seed(seed: u64, count: usize) -> anyhow::Result<()> {
    println!("seed {seed}: ./test chaos --tasks {count} --seed {seed} repeats it");
    let environment = Arc::new(Environment::start(seed).await?);
    let load = async {
        let submissions = load::run(&environment, seed, count).await;
        environment.note("all tasks are submitted; no more faults");
        environment.calm.begin();
        submissions
    };
    let (submissions, injected) = tokio::join!(load, faults::run(&environment, seed));
    let injected = injected.context("cannot repair a fault")?;
    let summary = checks::run(&environment, &submissions).await?;
    environment.note("all checks are done");
    print_summary(submissions.len(), &injected, &summary);
    if environment.findings.is_empty() {
        return Ok(());
    }
    print!("{}", environment.findings);
    let logs = environment.keep_logs(seed).await?;
    anyhow::bail!("seed {seed} violates rules, see above; the logs are in {}", logs.display())
}

fn print_summary(count: usize, injected: &BTreeMap<&str, usize>, summary: &Summary) {
    let Summary { tasks, effects, memory, .. } = summary;
    let faults: Vec<String> =
        injected.iter().map(|(what, count)| format!("{what} {count}")).collect();
    println!("{} faults: {}", injected.values().sum::<usize>(), faults.join(", "));
    println!(
        "{count} tasks accepted, {} submits repeated, {} ghosts: {:?}",
        tasks.repeated, tasks.ghosts, tasks.ends
    );
    println!(
        "{} attempts, {} leases lost, {} handed back, {} retried; longest {:.1} s: {}",
        tasks.attempts,
        tasks.lost,
        tasks.released,
        tasks.retried,
        tasks.longest.0.as_secs_f64(),
        tasks.longest.1
    );
    println!(
        "{} effects, {} tasks had more than one, {} came late",
        effects.rows, effects.repeated, effects.stale
    );
    let memory: Vec<String> =
        memory.iter().map(|(who, megabytes)| format!("{who} {megabytes:.0} MB")).collect();
    println!("{}", memory.join(", "));
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn accepted_tasks_end_once_despite_faults() {
    let count = number("MINIAPP_CHAOS_TASKS").unwrap_or(TASKS);
    let count = usize::try_from(count).expect("that many");
    let seeds: Vec<u64> = match number("MINIAPP_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("MINIAPP_CHAOS_SEEDS").unwrap_or(1))
            .map(|_| rand::random_range(0..1_000_000_000))
            .collect(),
    };
    let mut broken = Vec::new();
    for seed in seeds {
        match run_seed(seed, count).await {
            Ok(()) => println!("seed {seed} passed\n"),
            Err(error) => {
                println!("seed {seed} FAILED: {error:#}\n");
                broken.push(seed);
            }
        }
    }
    assert!(broken.is_empty(), "failed seeds: {broken:?}");
}
