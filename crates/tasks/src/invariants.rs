//! What has to hold of every stored task, in the words that all databases share.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::stored::micros;

/// How a store keeps to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvariantReport {
    /// The rule.
    pub invariant: &'static str,
    /// How many tasks break it.
    pub violations: u64,
    /// Some of them.
    pub examples: Vec<Uuid>,
}

/// A rule, and the condition for breaking it.
pub(crate) struct Invariant {
    pub name: &'static str,
    pub violation_sql: &'static str,
}

/// How many tasks that break a rule are named.
const MAX_EXAMPLES: u32 = 5;

/// All of them. Statuses: 0 waits, 1 is running, the others are ends. `:overdue` stands for
/// a time that is a minute ago, in microseconds since 1970.
pub(crate) const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "A waiting task has a time to run at, and no other task has one",
        violation_sql: "(status = 0) <> (ready_at IS NOT NULL)",
    },
    Invariant {
        name: "A waiting task is to be dispatched, or its message is on its way",
        violation_sql: "status = 0 AND due_at IS NULL AND dispatched_at IS NULL",
    },
    Invariant {
        name: "Only a waiting task is to be dispatched",
        violation_sql: "status <> 0 AND due_at IS NOT NULL",
    },
    Invariant {
        name: "A running task has a lease, and no other task has one",
        violation_sql: "(status = 1) <> (lease_until IS NOT NULL)",
    },
    Invariant {
        name: "A running task has a worker and a claim",
        violation_sql: "status = 1 AND (worker IS NULL OR claim = 0)",
    },
    Invariant {
        name: "Only a running task is asked to stop",
        violation_sql: "status <> 1 AND cancel_requested",
    },
    Invariant {
        name: "A task that has ended says when, and no other task does",
        violation_sql: "(status > 1) <> (finished_at IS NOT NULL)",
    },
    Invariant {
        name: "A finished task has a result and no error",
        violation_sql: "status = 2 AND (result IS NULL OR error_code IS NOT NULL)",
    },
    Invariant {
        name: "A failed task says why",
        violation_sql: "status = 4 AND error_code IS NULL",
    },
    Invariant {
        name: "No task has more attempts than it may, leases that ran out aside",
        violation_sql: "attempt > max_attempts + lost_leases",
    },
    Invariant { name: "Every attempt was claimed", violation_sql: "attempt > claim" },
    Invariant {
        name: "No task has lost more leases than make it poison",
        violation_sql: "lost_leases > 3",
    },
    Invariant { name: "Every claim was a change", violation_sql: "version < 1 + claim" },
    Invariant {
        name: "While the platform runs, a lease that ran out is noticed within a minute",
        violation_sql: "lease_until < :overdue",
    },
];

impl Invariant {
    fn condition(&self, now: Timestamp) -> String {
        let overdue = now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(Timestamp::MIN);
        self.violation_sql.replace(":overdue", &micros(overdue).to_string())
    }

    /// The query for some tasks that break it.
    pub fn examples(&self, now: Timestamp) -> String {
        format!("SELECT id FROM tasks WHERE {} LIMIT {MAX_EXAMPLES}", self.condition(now))
    }
}

/// The query that counts, in one look at each task, how many break each of the rules.
pub(crate) fn counts(now: Timestamp) -> String {
    let counts: Vec<String> = INVARIANTS
        .iter()
        .map(|rule| format!("count(CASE WHEN {} THEN 1 END)", rule.condition(now)))
        .collect();
    format!("SELECT {} FROM tasks", counts.join(", "))
}
