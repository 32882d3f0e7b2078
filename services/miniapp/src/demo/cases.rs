//! What the demo runs, and how each is to end.

use miniapp_types::task::{Status, SubmitTask};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

/// A task of the demo.
#[derive(Debug)]
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    /// The task.
    pub task: SubmitTask,
    /// How it is to end.
    pub ends: Status,
    /// After how many attempts.
    pub attempts: u32,
    /// Whether its owner cancels it while it runs.
    pub canceled: bool,
}

/// One task of every kind, and those that don't simply finish. `page` is something to
/// fetch.
pub fn cases(page: &str) -> Vec<Case> {
    let finishes = |name, kind: &str, data, ttl| Case {
        name,
        task: SubmitTask {
            description: name.to_owned(),
            // A value is JSON already: writing it can't fail.
            data: to_raw_value(&data).unwrap_or_default(),
            ttl,
            kind: Some(kind.to_owned()),
            max_attempts: None,
            run_at: None,
        },
        ends: Status::Finished,
        attempts: 1,
        canceled: false,
    };
    let canceled = |name, ttl| Case {
        ends: Status::Canceled,
        ..finishes(name, "sleep", json!({"seconds": 60}), ttl)
    };
    vec![
        finishes("says it back", "echo", json!({"hello": "world"}), 10),
        finishes("pretends to work", "simulate", json!({"seed": QUICK_SEED}), 6),
        finishes("waits", "sleep", json!({"seconds": 3}), 10),
        finishes("computes", "hash", json!({"rounds": rounds()}), 60),
        finishes("fetches a page", "http", json!({"url": page}), 10),
        Case { attempts: 2, ..finishes("fails at first", "flaky", json!({"failures": 1}), 10) },
        Case { canceled: true, ..canceled("is canceled", 60) },
        canceled("runs past its ttl", 2),
        finishes("takes any data", "echo", Value::String("x".repeat(1000)), 10),
    ]
}

/// A seed with which `simulate` ends well within a ttl of 6 seconds.
const QUICK_SEED: u64 = 7;

/// Some seconds of work, in either build.
fn rounds() -> u32 {
    if cfg!(debug_assertions) { 3_000_000 } else { 15_000_000 }
}
