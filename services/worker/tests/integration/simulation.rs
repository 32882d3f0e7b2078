//! The protocol of tasks in a simulated world.
//!
//! The code under test is the real one: the facade that the API calls, the writer, the
//! relay, the reaper and the worker. What they stand on is not: time, the store and the
//! broker are in memory, and a seed decides how long each step takes and what goes wrong.
//! Answers get lost, messages come twice or never, connections break, processes freeze and
//! die between any two steps, clocks jump. The rules are checked after every write. A seed
//! plays the same story each time.
//!
//! `MINIAPP_SIMULATION_SEEDS` says how many seeds to play; `MINIAPP_TEST_SEED` plays one
//! and tells its story.

mod chaos;
mod clients;
mod database;
mod kind;
mod ports;
mod process;
mod rules;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use miniapp_types::task::EventType;
use parking_lot::Mutex;
use strum::IntoEnumIterator as _;
use tokio::runtime::Builder;

use crate::simulation::world::{Story, World};

/// Plays one seed.
fn play(seed: u64) -> Story {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(World::play(seed))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Plays `seed`; what breaks a rule is told with the way to see it again.
fn try_seed(seed: u64) -> Result<Story, String> {
    let told = |what: &str| format!("{what}\nMINIAPP_TEST_SEED={seed} plays it again");
    match catch_unwind(AssertUnwindSafe(|| play(seed))) {
        Ok(Story { broken: Some(broken), .. }) => Err(told(&broken)),
        Ok(story) => Ok(story),
        Err(_) => Err(told("a panic, see above")),
    }
}

#[test]
fn promises_hold_in_every_story() {
    if let Some(seed) = number("MINIAPP_TEST_SEED") {
        let story = play(seed);
        println!("{}", story.lines.join("\n"));
        assert_eq!(story.broken, None);
        return;
    }
    let count = number("MINIAPP_SIMULATION_SEEDS").unwrap_or(100);
    let first: u64 = rand::random_range(0..u64::MAX - count);
    let (next, steps, began) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let events: Mutex<BTreeMap<&str, u64>> = Mutex::default();
    let play_some = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return None;
            }
            match try_seed(first + number) {
                Ok(story) => {
                    steps.fetch_add(story.steps, Ordering::Relaxed);
                    let mut events = events.lock();
                    for (event, count) in story.events {
                        *events.entry(event).or_default() += count;
                    }
                }
                Err(broken) => {
                    next.store(count, Ordering::Relaxed);
                    return Some(broken);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(play_some)).collect();
        players.into_iter().filter_map(|player| player.join().expect("no panic")).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let events = events.into_inner();
    // Or the stories are too dull to tell anything.
    let is_lively = EventType::iter().all(|event| events.contains_key(event.into()));
    assert!(count < 50 || is_lively, "not everything happened: {events:?}");
    println!(
        "{count} seeds from {first} on, {} steps, {:.1} s\n{events:?}",
        steps.into_inner(),
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn a_seed_plays_the_same_story_each_time() {
    for seed in 0..10 {
        let (first, second) = (play(seed), play(seed));
        let different = first.lines.iter().zip(&second.lines).position(|(a, b)| a != b);
        if let Some(place) = different {
            panic!("seed {seed}, line {place}:\n{}\n{}", first.lines[place], second.lines[place]);
        }
        assert_eq!(first.lines.len(), second.lines.len(), "seed {seed}");
    }
}
