//! Requested tasks and their allowed outcomes.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_tasks::Task;
use miniapp_tasks::domain::{POISON_AFTER, TTL_EXCEEDED};
use miniapp_types::task::Status;
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;
use serde_json::{Value, json};

/// The maximum number of attempts.
const ATTEMPTS: u32 = 3;

/// A requested task.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    pub work: Work,
    /// The `runAt` of the task.
    pub run_at: Option<Timestamp>,
}

/// The work of a task.
#[derive(Clone, Debug)]
pub enum Work {
    /// Sends a request to the effects server.
    Effect {
        url: String,
    },
    Echo {
        data: Value,
    },
    Sleep {
        seconds: f64,
    },
    /// Sleeps for longer than its ttl.
    TooLong,
    Flaky {
        failures: u32,
    },
    Hash {
        rounds: u32,
    },
}

impl TaskRequest {
    /// Draws a random task. The effects server is at `url`.
    pub fn draw(dice: &mut Xoshiro256PlusPlus, url: &str, now: Timestamp) -> Self {
        let work = match dice.random_range(0..100) {
            0..45 => Work::Effect { url: url.to_owned() },
            45..72 => Work::Echo { data: json!({ "number": dice.random::<u32>() }) },
            72..82 => Work::Sleep { seconds: f64::from(dice.random_range(0..4000)) / 1000.0 },
            82..84 => Work::TooLong,
            84..92 => Work::Flaky { failures: dice.random_range(1..=ATTEMPTS) },
            _ => Work::Hash { rounds: dice.random_range(1..2000) },
        };
        let delay = Duration::from_millis(dice.random_range(0..5000));
        let is_later = dice.random_range(0..20) == 0;
        Self { work, run_at: is_later.then(|| now + delay) }
    }

    /// The body of the request, with the client's name of the task.
    pub fn body(&self, name: &str) -> Value {
        let (kind, data) = match &self.work {
            Work::Effect { url } => ("http", json!({ "url": url, "method": "POST" })),
            Work::Echo { data } => ("echo", data.clone()),
            Work::Sleep { seconds } => ("sleep", json!({ "seconds": seconds })),
            Work::TooLong => ("sleep", json!({ "seconds": 60 })),
            Work::Flaky { failures } => ("flaky", json!({ "failures": failures })),
            Work::Hash { rounds } => ("hash", json!({ "rounds": rounds })),
        };
        let ttl = if matches!(self.work, Work::TooLong) { 1 } else { 60 };
        json!({
            "description": name,
            "kind": kind,
            "data": data,
            "ttl": ttl,
            "maxAttempts": ATTEMPTS,
            "runAt": self.run_at,
        })
    }

    /// Whether `task` may have this outcome without a request of its owner.
    pub fn may_end_as(&self, task: &Task) -> bool {
        let state = &task.state;
        let code = state.error.as_ref().map(|error| error.code.as_str());
        let result: Option<Value> =
            state.result.as_ref().and_then(|result| serde_json::from_str(result.get()).ok());
        let is_finished = state.status == Status::Finished;
        let has_failed = |with| state.status == Status::Failed && code == Some(with);
        if has_failed("lease_lost") {
            return state.lost_leases >= POISON_AFTER;
        }
        // A lost attempt replaces a failure of a flaky task.
        let is_disturbed = state.lost_leases > 0;
        match &self.work {
            // The connection was closed in all three attempts.
            Work::Effect { .. } => is_finished || has_failed("connection_failed"),
            Work::Echo { data } => is_finished && result.as_ref() == Some(data),
            Work::Sleep { .. } => is_finished,
            Work::TooLong => {
                state.status == Status::Canceled && state.message.as_deref() == Some(TTL_EXCEEDED)
            }
            Work::Flaky { failures } if *failures < ATTEMPTS => is_finished,
            Work::Flaky { .. } => has_failed("flaky") || (is_finished && is_disturbed),
            Work::Hash { .. } => {
                let hash = result.as_ref().and_then(Value::as_str);
                is_finished && hash.is_some_and(|hash| hash.len() == 64)
            }
        }
    }
}
