//! The results of claims and commits.

use miniapp_tasks::{Claim, Task};

/// The result of claiming a task.
pub(crate) enum Claimed {
    Mine(Claim, Box<Task>),
    /// The message is a duplicate or outdated.
    Stale,
    /// The store is unreachable and the worker stops.
    Stopping,
}

/// The result of committing an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    Stored,
    /// Another worker may have the task.
    ClaimLost,
}
