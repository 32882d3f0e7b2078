//! The invariants of stored tasks, in SQL that both databases understand.

use jiff::{SignedDuration, Timestamp};

use crate::column_values::micros;

/// An invariant and the SQL condition that a violating task matches.
pub(crate) struct Invariant {
    pub name: &'static str,
    pub violation_sql: &'static str,
}

/// Number of violating tasks returned per invariant.
const MAX_EXAMPLES: u32 = 5;

/// All invariants. Status 0 is awaiting, 1 is executing, the others are final. `:overdue` is
/// replaced by the time one minute ago, in microseconds since 1970.
pub(crate) const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "A task has a time to run at if and only if it waits",
        violation_sql: "(status = 0) <> (ready_at IS NOT NULL)",
    },
    Invariant {
        name: "A waiting task is in the outbox or was dispatched",
        violation_sql: "status = 0 AND due_at IS NULL AND dispatched_at IS NULL",
    },
    Invariant {
        name: "Only a waiting task is in the outbox",
        violation_sql: "status <> 0 AND due_at IS NOT NULL",
    },
    Invariant {
        name: "A task has a lease if and only if it is running",
        violation_sql: "(status = 1) <> (lease_until IS NOT NULL)",
    },
    Invariant {
        name: "A running task has a worker and a claim",
        violation_sql: "status = 1 AND (worker IS NULL OR claim = 0)",
    },
    Invariant {
        name: "A cancel is requested only of a running task",
        violation_sql: "status <> 1 AND cancel_requested",
    },
    Invariant {
        name: "A task has an end time if and only if it has ended",
        violation_sql: "(status > 1) <> (finished_at IS NOT NULL)",
    },
    Invariant {
        name: "A finished task has a result and no error",
        violation_sql: "status = 2 AND (result IS NULL OR error_code IS NOT NULL)",
    },
    Invariant {
        name: "A failed task has an error",
        violation_sql: "status = 4 AND error_code IS NULL",
    },
    Invariant {
        name: "No task exceeds its maximum number of attempts, not counting lost leases",
        violation_sql: "attempt > max_attempts + lost_leases",
    },
    Invariant { name: "Every attempt has a claim", violation_sql: "attempt > claim" },
    Invariant {
        name: "No task has lost more leases than the limit",
        violation_sql: "lost_leases > 7",
    },
    Invariant { name: "Every claim incremented the version", violation_sql: "version < 1 + claim" },
    Invariant {
        name: "While the platform runs, an expired lease is reaped within a minute",
        violation_sql: "lease_until < :overdue",
    },
];

impl Invariant {
    fn condition(&self, now: Timestamp) -> String {
        let overdue = now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(Timestamp::MIN);
        self.violation_sql.replace(":overdue", &micros(overdue).to_string())
    }

    /// Returns the query for some violating tasks.
    pub fn examples(&self, now: Timestamp) -> String {
        format!("SELECT id FROM tasks WHERE {} LIMIT {MAX_EXAMPLES}", self.condition(now))
    }
}

/// Returns the query that counts the violations of all invariants in one scan.
pub(crate) fn counts(now: Timestamp) -> String {
    let counts: Vec<String> = INVARIANTS
        .iter()
        .map(|invariant| format!("count(CASE WHEN {} THEN 1 END)", invariant.condition(now)))
        .collect();
    format!("SELECT {} FROM tasks", counts.join(", "))
}
