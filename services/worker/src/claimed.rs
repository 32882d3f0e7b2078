//! The results of claims and commits.

/// The result of claiming a task.
pub(crate) enum Claimed {
    Mine(Box<miniapp_tasks::Claimed>),
    /// The task may only be claimed while this process runs nothing else.
    RunsAlone,
    /// This worker does not run tasks of this kind or of this queue.
    NotRun,
    /// The message is a duplicate or outdated.
    Stale,
    /// The store is unreachable and the worker stops.
    Stopping,
}

/// The result of committing an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    Stored {
        /// Number of requests in the transaction.
        batch_size: Option<usize>,
    },
    /// Another worker may have the task.
    ClaimLost,
}
