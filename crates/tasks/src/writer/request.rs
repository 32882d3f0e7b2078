//! Requests to the writer and their results.

use uuid::Uuid;

use crate::domain::{Command, Task};
use crate::engine::IdempotencyKey;
use crate::error::Error;

/// A requested change.
#[derive(Clone, Debug)]
pub enum Write {
    /// Inserts a task unless its idempotency key is known.
    Submit(Box<Task>, Option<IdempotencyKey>),
    /// Applies a command to a task.
    Apply {
        id: Uuid,
        /// The task has to belong to this owner.
        owner: Option<Uuid>,
        /// The task has to have one of these versions.
        versions: Option<Vec<u64>>,
        command: Command,
    },
}

impl Write {
    /// Returns the bytes of its data or result.
    pub fn size(&self) -> usize {
        match self {
            Self::Submit(task, _) => task.spec.data.get().len(),
            Self::Apply { command: Command::Finish { result, .. }, .. } => result.get().len(),
            Self::Apply { .. } => 0,
        }
    }

    /// Returns the value of the span attribute `db.operation.name`.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Submit(..) => "INSERT",
            Self::Apply { .. } => "UPDATE",
        }
    }
}

/// The task after a change.
#[derive(Clone, Debug)]
pub struct Applied {
    pub task: Task,
    /// `false` if the task already was in the requested state.
    pub is_new: bool,
    /// Number of requests in the transaction; set by the caller of the batcher.
    pub batch_size: usize,
}

impl Applied {
    pub fn changed(task: Task) -> Self {
        Self { task, is_new: true, batch_size: 0 }
    }

    pub fn unchanged(task: Task) -> Self {
        Self { task, is_new: false, batch_size: 0 }
    }
}

/// The result of one request.
pub(super) type Response = Result<Applied, Error>;
