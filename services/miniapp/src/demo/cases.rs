//! The tasks of the demo and their expected outcomes.

use miniapp_types::task::{Status, SubmitTask};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

/// A task of the demo.
#[derive(Debug)]
pub struct Case {
    /// Completes the phrase "a task that ...".
    pub name: &'static str,
    pub task: SubmitTask,
    pub expected_status: Status,
    pub expected_attempts: u32,
    /// Whether the demo cancels it while it runs.
    pub is_canceled: bool,
}

/// Returns tasks of every kind, and tasks that fail, are canceled or exceed their ttl.
/// `page` is a URL to fetch.
pub fn cases(page: &str) -> Vec<Case> {
    let finishes = |name, kind: &str, data, ttl| Case {
        name,
        task: SubmitTask {
            description: name.to_owned(),
            // Serializing a `Value` cannot fail.
            data: to_raw_value(&data).unwrap_or_default(),
            ttl,
            queue: None,
            kind: Some(kind.to_owned()),
            max_attempts: None,
            run_at: None,
        },
        expected_status: Status::Finished,
        expected_attempts: 1,
        is_canceled: false,
    };
    let canceled = |name, ttl| Case {
        expected_status: Status::Canceled,
        ..finishes(name, "sleep", json!({"seconds": 60}), ttl)
    };
    vec![
        finishes("returns its data", "echo", json!({"hello": "world"}), 10),
        finishes("simulates work", "simulate", json!({"seed": QUICK_SEED}), 6),
        finishes("waits", "sleep", json!({"seconds": 3}), 10),
        finishes("computes", "hash", json!({"rounds": rounds()}), 60),
        finishes("fetches a page", "http", json!({"url": page}), 10),
        Case {
            expected_attempts: 2,
            ..finishes("fails once", "flaky", json!({"failures": 1}), 10)
        },
        Case { is_canceled: true, ..canceled("is canceled", 60) },
        canceled("exceeds its ttl", 2),
        finishes("returns long data", "echo", Value::String("x".repeat(1000)), 10),
    ]
}

/// A seed with which `simulate` succeeds within 6 seconds.
const QUICK_SEED: u64 = 7;

/// Some seconds of work, depending on the build profile.
fn rounds() -> u32 {
    if cfg!(debug_assertions) { 3_000_000 } else { 15_000_000 }
}
