//! Deterministic simulation of the task protocol.
//!
//! The code under test is the production code: the task facade, the writer, the relay, the
//! reaper and the worker. Time, store and broker are simulated, and a seed determines how
//! long each step takes and which faults occur. Responses are lost, messages are duplicated
//! or lost, connections break, processes freeze and crash between any two steps, and clocks
//! jump. Invariants are checked after every write. A seed always produces the same run.
//!
//! `MINIAPP_SIMULATION_SEEDS` sets the number of seeds, 50 by default; `MINIAPP_TEST_SEED` runs one and
//! prints its log.

mod chaos;
mod clients;
mod database;
mod invariants;
mod kind;
mod ports;
mod process;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use miniapp_types::task::EventType;
use parking_lot::Mutex;
use strum::IntoEnumIterator as _;
use tokio::runtime::Builder;

use crate::simulation::world::{Run, World};

/// Simulates one seed.
fn simulate(seed: u64) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(World::simulate(seed))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Simulates `seed`. The error of a violated invariant explains how to reproduce it.
fn try_seed(seed: u64) -> Result<Run, String> {
    let failure = |what: &str| format!("{what}\nReproduce with MINIAPP_TEST_SEED={seed}");
    match catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
        Ok(Run { broken: Some(violation), .. }) => Err(failure(&violation)),
        Ok(run) => Ok(run),
        Err(_) => Err(failure("a panic, see above")),
    }
}

#[test]
fn invariants_hold_for_every_seed() {
    if let Some(seed) = number("MINIAPP_TEST_SEED") {
        let run = simulate(seed);
        println!("{}", run.lines.join("\n"));
        assert_eq!(run.broken, None);
        return;
    }
    let count = number("MINIAPP_SIMULATION_SEEDS").unwrap_or(50);
    let first: u64 = rand::random_range(0..u64::MAX - count);
    let (next, steps, began) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let events: Mutex<BTreeMap<&str, u64>> = Mutex::default();
    let run_seeds = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return None;
            }
            match try_seed(first + number) {
                Ok(run) => {
                    steps.fetch_add(run.steps, Ordering::Relaxed);
                    let mut events = events.lock();
                    for (event, count) in run.events {
                        *events.entry(event).or_default() += count;
                    }
                }
                Err(violation) => {
                    next.store(count, Ordering::Relaxed);
                    return Some(violation);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let violations: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run_seeds)).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    let events = events.into_inner();
    // Otherwise the runs exercise too little.
    let covers_all_events = EventType::iter().all(|event| events.contains_key(event.into()));
    assert!(count < 50 || covers_all_events, "missing events: {events:?}");
    println!(
        "{count} seeds from {first} on, {} steps, {:.1} s\n{events:?}",
        steps.into_inner(),
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn seed_is_deterministic() {
    for seed in 0..5 {
        let (first, second) = (simulate(seed), simulate(seed));
        let different = first.lines.iter().zip(&second.lines).position(|(a, b)| a != b);
        if let Some(place) = different {
            panic!("seed {seed}, line {place}:\n{}\n{}", first.lines[place], second.lines[place]);
        }
        assert_eq!(first.lines.len(), second.lines.len(), "seed {seed}");
    }
}
