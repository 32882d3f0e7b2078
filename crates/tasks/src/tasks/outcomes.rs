//! How attempts end, for workers of every kind.

use std::sync::Arc;
use std::time::Duration;

use miniapp_types::json;
use miniapp_types::limits::MAX_RESULT_BYTES;
use miniapp_types::task::{Status, TaskError};
use serde_json::value::RawValue;

use super::{Committed, Tasks};
use crate::domain::{RELEASED, State, Task};
use crate::engine::Claim;
use crate::error::Error;

/// In characters.
const MAX_ERROR_MESSAGE: usize = 500;
const MAX_ERROR_CODE: usize = 100;

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Finished(Arc<RawValue>),
    /// It failed; another attempt may succeed.
    Retry {
        error: TaskError,
        /// The delay before it.
        delay: Duration,
    },
    /// It failed; another attempt would fail as well.
    Failed(TaskError),
    /// The worker returns the task. The attempt is not counted.
    Released,
    /// It was stopped because its task is canceled or its ttl has ended.
    Stopped,
}

impl Outcome {
    /// Returns the outcome of code that ended with `result`.
    pub fn of_result(result: Box<RawValue>) -> Self {
        check_result(result).map_or_else(Self::Failed, Self::Finished)
    }

    /// Whether the attempt of `claim` may have ended this way, as far as the task shows: an outcome
    /// whose response was lost is committed again.
    pub fn explains(&self, task: &Task, claim: u64) -> bool {
        let State { status, message, result, error, .. } = &task.state;
        if task.state.claim != claim || task.state.deleted {
            return false;
        }
        match self {
            Self::Finished(own) => {
                let is_same = |result: &Arc<RawValue>| {
                    result.get() == own.get() || json::canonical(result) == json::canonical(own)
                };
                *status == Status::Finished && result.as_ref().is_some_and(is_same)
            }
            Self::Retry { error: own, .. } => {
                matches!(status, Status::Awaiting | Status::Failed) && error.as_ref() == Some(own)
            }
            Self::Failed(own) => *status == Status::Failed && error.as_ref() == Some(own),
            Self::Released => *status == Status::Awaiting && message.as_deref() == Some(RELEASED),
            Self::Stopped => *status == Status::Canceled,
        }
    }
}

impl Tasks {
    /// Commits the outcome of an attempt.
    pub async fn commit(&self, claim: Claim, outcome: Outcome) -> Result<Committed, Error> {
        match outcome {
            Outcome::Finished(result) => self.finish(claim, result).await,
            Outcome::Retry { error, delay } => self.retry(claim, error, delay).await,
            Outcome::Failed(error) => self.fail(claim, error).await,
            Outcome::Released => self.release(claim).await,
            Outcome::Stopped => self.confirm_cancel(claim).await,
        }
    }
}

/// Returns a result within the limits of results, or the error that fails the task.
pub fn check_result(result: Box<RawValue>) -> Result<Arc<RawValue>, TaskError> {
    let size = result.get().len();
    if size > MAX_RESULT_BYTES {
        let message = format!("The result has {size} bytes of JSON, of {MAX_RESULT_BYTES}");
        return Err(task_error("result_too_large", &message));
    }
    if json::depth(result.get()) > json::MAX_DEPTH {
        let message = format!("The result is nested deeper than {} levels", json::MAX_DEPTH);
        return Err(task_error("invalid_result", &message));
    }
    Ok(result.into())
}

/// Returns an error within the limits of a task's errors.
pub fn task_error(code: &str, message: &str) -> TaskError {
    TaskError {
        code: truncated(code, MAX_ERROR_CODE),
        message: truncated(message, MAX_ERROR_MESSAGE),
    }
}

/// Returns the first characters of a text, with an ellipsis if it is longer.
pub fn truncated(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
