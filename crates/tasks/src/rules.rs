//! What has to hold of every stored task, in the words that all databases share.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::stored::micros;

/// How a store keeps to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The rule.
    pub rule: &'static str,
    /// How many tasks break it.
    pub broken: u64,
    /// Some of them.
    pub examples: Vec<Uuid>,
}

/// A rule, and the condition for breaking it.
pub(crate) struct Rule {
    pub name: &'static str,
    pub broken_if: &'static str,
}

/// How many tasks that break a rule are named.
const EXAMPLES: u32 = 5;

/// All of them. Statuses: 0 waits, 1 is running, the others are ends. `:overdue` stands for
/// a time that is a minute ago, in microseconds since 1970.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "A waiting task has a time to run at, and no other task has one",
        broken_if: "(status = 0) <> (ready_at IS NOT NULL)",
    },
    Rule {
        name: "A waiting task is to be dispatched, or its message is on its way",
        broken_if: "status = 0 AND due_at IS NULL AND dispatched_at IS NULL",
    },
    Rule {
        name: "Only a waiting task is to be dispatched",
        broken_if: "status <> 0 AND due_at IS NOT NULL",
    },
    Rule {
        name: "A running task has a lease, and no other task has one",
        broken_if: "(status = 1) <> (lease_until IS NOT NULL)",
    },
    Rule {
        name: "A running task has a worker and a claim",
        broken_if: "status = 1 AND (worker IS NULL OR claim = 0)",
    },
    Rule {
        name: "Only a running task is asked to stop",
        broken_if: "status <> 1 AND cancel_requested",
    },
    Rule {
        name: "A task that has ended says when, and no other task does",
        broken_if: "(status > 1) <> (finished_at IS NOT NULL)",
    },
    Rule {
        name: "A finished task has a result and no error",
        broken_if: "status = 2 AND (result IS NULL OR error_code IS NOT NULL)",
    },
    Rule { name: "A failed task says why", broken_if: "status = 4 AND error_code IS NULL" },
    Rule {
        name: "No task has more attempts than it may, leases that ran out aside",
        broken_if: "attempt > max_attempts + lost_leases",
    },
    Rule { name: "Every attempt was claimed", broken_if: "attempt > claim" },
    Rule { name: "No task has lost more leases than make it poison", broken_if: "lost_leases > 3" },
    Rule { name: "Every claim was a change", broken_if: "version < 1 + claim" },
    Rule {
        name: "While the platform runs, a lease that ran out is noticed within a minute",
        broken_if: "lease_until < :overdue",
    },
];

impl Rule {
    fn condition(&self, now: Timestamp) -> String {
        let overdue = now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(Timestamp::MIN);
        self.broken_if.replace(":overdue", &micros(overdue).to_string())
    }

    /// The query for some tasks that break it.
    pub fn examples(&self, now: Timestamp) -> String {
        format!("SELECT id FROM tasks WHERE {} LIMIT {EXAMPLES}", self.condition(now))
    }
}

/// The query that counts, in one look at each task, how many break each of the rules.
pub(crate) fn counts(now: Timestamp) -> String {
    let counts: Vec<String> = RULES
        .iter()
        .map(|rule| format!("count(CASE WHEN {} THEN 1 END)", rule.condition(now)))
        .collect();
    format!("SELECT {} FROM tasks", counts.join(", "))
}
