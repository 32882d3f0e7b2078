//! Runs the code of a kind to an outcome.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use miniapp_tasks::{check_result, task_error, truncated};
use miniapp_types::task::TaskError;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use crate::attempt::{Attempt, Stop};
use crate::kinds::{Context, ErasedKind, KindError, KindResult};

/// How long code may take to stop before it is dropped.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// In characters. Panic messages are not written for owners of tasks.
const MAX_PANIC_MESSAGE: usize = 120;

/// The outcome of an attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    Finished(Arc<RawValue>),
    /// It failed; another attempt may succeed.
    Retry {
        error: TaskError,
        /// When the next attempt may start; `None` leaves that to the kind.
        retry_in: Option<Duration>,
    },
    /// It failed; another attempt would fail as well.
    Failed(TaskError),
    Stopped(Stop),
}

impl Outcome {
    /// Runs `kind` until it ends, panics, exceeds the ttl or is stopped.
    pub async fn of(
        kind: &dyn ErasedKind,
        attempt: &Attempt,
        context: &Context,
        data: &RawValue,
    ) -> Self {
        let mut run = AssertUnwindSafe(kind.run(context, data)).catch_unwind();
        tokio::select! {
            biased;
            ended = &mut run => return Self::ended(ended, attempt),
            () = attempt.stopped() => {}
            () = sleep(attempt.ttl) => attempt.stop(Stop::Expired),
            () = attempt.lease_expired() => attempt.stop(Stop::LeaseLost),
        }
        // A result after the stop signal is ignored.
        let _ = timeout(STOP_TIMEOUT, run).await;
        Self::Stopped(attempt.stop_reason().unwrap_or(Stop::Expired))
    }

    /// Returns the outcome for a kind that this worker does not have. Another worker has it, or
    /// the task would not have been accepted, for example during a rolling update.
    pub fn unknown_kind(kind: &str) -> Self {
        let message = format!("The worker doesn't know the kind {kind:?}");
        Self::retry("unknown_kind", &message)
    }

    /// Returns the name in logs, spans and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finished(_) => "finished",
            Self::Retry { .. } | Self::Failed(_) => "failed",
            Self::Stopped(Stop::Canceled) => "canceled",
            Self::Stopped(Stop::Expired) => "expired",
            Self::Stopped(Stop::LeaseLost) => "lease_lost",
            Self::Stopped(Stop::Shutdown | Stop::Displaced) => "released",
        }
    }

    pub fn error(&self) -> Option<&TaskError> {
        match self {
            Self::Retry { error, .. } | Self::Failed(error) => Some(error),
            Self::Finished(_) | Self::Stopped(_) => None,
        }
    }

    fn retry(code: &str, message: &str) -> Self {
        Self::Retry { error: task_error(code, message), retry_in: None }
    }

    fn ended(ended: Result<KindResult, Box<dyn Any + Send>>, attempt: &Attempt) -> Self {
        match ended {
            Ok(Ok(result)) => check_result(result).map_or_else(Self::Failed, Self::Finished),
            // It was stopped, and ended before the stop was observed here.
            _ if let Some(reason) = attempt.stop_reason() => Self::Stopped(reason),
            Ok(Err(KindError::Retryable { code, message, retry_in })) => {
                Self::Retry { error: task_error(&code, &message), retry_in }
            }
            Ok(Err(KindError::Permanent { code, message })) => {
                Self::Failed(task_error(&code, &message))
            }
            Ok(Err(KindError::Stopped)) => {
                Self::retry("stopped", "The kind stopped without a request")
            }
            Err(panic) => {
                let message = format!("The kind's code panicked: {}", panic_message(&*panic));
                Self::retry("panicked", &message)
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    truncated(text.unwrap_or("without a message"), MAX_PANIC_MESSAGE)
}
