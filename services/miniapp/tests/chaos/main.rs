//! The platform while everything around it breaks.
//!
//! Clients submit thousands of tasks at two APIs, and three workers run them, each a
//! process of its own. Meanwhile processes are killed, stopped and frozen, the servers go
//! away, and what lies between them is slow, stuck or cut. When it is calm again, every
//! accepted task has to have ended once, and nothing may be left of the trouble.
//!
//! A seed decides what goes wrong when and what clients ask for. How that meets the work of
//! a dozen processes is decided by the machine, so a seed plays the same trouble again, and
//! much the same story.
//!
//! `MINIAPP_CHAOS_TASKS` says how many tasks to submit, `MINIAPP_CHAOS_SEEDS` how many
//! seeds to play; `MINIAPP_TEST_SEED` plays one again. Without them it takes about a minute.

mod effects;
mod faults;
mod findings;
mod load;
mod plan;
mod topology;
mod verdict;
mod wish;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;

use crate::verdict::Summary;
use crate::world::World;

/// How many tasks are submitted unless somebody says otherwise: a minute, all in all.
const TASKS: u64 = 3000;

/// Plays a seed; what was broken, if anything was.
async fn play(seed: u64, count: usize) -> anyhow::Result<()> {
    println!("seed {seed}: ./test chaos --tasks {count} --seed {seed} plays it again");
    let world = Arc::new(World::start(seed).await?);
    let load = async {
        let submissions = load::run(&world, seed, count).await;
        world.note("all is submitted; calm");
        world.calm.begin();
        submissions
    };
    let (submissions, struck) = tokio::join!(load, faults::run(&world, seed));
    let struck = struck.context("a fault that can't be made good for")?;
    let summary = verdict::run(&world, &submissions).await?;
    world.note("all is looked at");
    tell(submissions.len(), &struck, &summary);
    if world.findings.is_empty() {
        return Ok(());
    }
    print!("{}", world.findings);
    let logs = world.keep_logs(seed).await?;
    anyhow::bail!("seed {seed} breaks rules, see above; the logs are in {}", logs.display())
}

fn tell(count: usize, struck: &BTreeMap<&str, usize>, summary: &Summary) {
    let Summary { tasks, effects, memory, .. } = summary;
    let faults: Vec<String> =
        struck.iter().map(|(what, count)| format!("{what} {count}")).collect();
    println!("{} faults: {}", struck.values().sum::<usize>(), faults.join(", "));
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
async fn every_accepted_task_ends_once_whatever_breaks() {
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
        match play(seed, count).await {
            Ok(()) => println!("seed {seed} is well\n"),
            Err(error) => {
                println!("seed {seed} is NOT well: {error:#}\n");
                broken.push(seed);
            }
        }
    }
    assert!(broken.is_empty(), "not well: {broken:?}");
}
