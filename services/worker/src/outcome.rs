//! Running a kind's code to an outcome, come what may.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use miniapp_types::task::TaskError;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use crate::attempt::{Attempt, Stop};
use crate::kinds::{Context, Kind, KindError, KindResult};

/// How long code may take to notice that it is to stop before it is dropped.
const NOTICE: Duration = Duration::from_secs(1);
/// The longest message of an error that is kept, in characters.
const LONGEST_MESSAGE: usize = 500;
/// The longest message of a panic that is kept: it was not written for owners of tasks.
const LONGEST_PANIC: usize = 120;

/// What became of an attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It has a result.
    Finished(Box<RawValue>),
    /// It failed, another one may not.
    Retry(TaskError),
    /// It failed, any other one would too.
    Failed(TaskError),
    /// It was stopped.
    Stopped(Stop),
}

impl Outcome {
    /// Runs `kind` until it ends, panics, exceeds the ttl or is stopped.
    pub async fn of(
        kind: &dyn Kind,
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
            () = attempt.forfeited() => attempt.stop(Stop::LeaseLost),
        }
        // Whatever it says now, it was told to stop and counts as stopped.
        let _ = timeout(NOTICE, run).await;
        Self::Stopped(attempt.stop_reason().unwrap_or(Stop::Expired))
    }

    /// There is no code for the task's kind here. Some worker has it, or the task wouldn't have
    /// been taken: a newer one, while the older are being replaced.
    pub fn unknown_kind(kind: &str) -> Self {
        let message = format!("The worker doesn't know the kind {kind:?}");
        Self::Retry(error("unknown_kind", &message))
    }

    /// Its name in logs, spans and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finished(_) => "finished",
            Self::Retry(_) | Self::Failed(_) => "failed",
            Self::Stopped(Stop::Canceled) => "canceled",
            Self::Stopped(Stop::Expired) => "expired",
            Self::Stopped(Stop::LeaseLost) => "lease_lost",
            Self::Stopped(Stop::Shutdown) => "released",
        }
    }

    /// The error, if it failed.
    pub fn error(&self) -> Option<&TaskError> {
        match self {
            Self::Retry(error) | Self::Failed(error) => Some(error),
            Self::Finished(_) | Self::Stopped(_) => None,
        }
    }

    fn ended(ended: Result<KindResult, Box<dyn Any + Send>>, attempt: &Attempt) -> Self {
        match ended {
            Ok(Ok(result)) => Self::Finished(result),
            // Told to stop, it ended in its own way before anybody here saw it.
            _ if let Some(reason) = attempt.stop_reason() => Self::Stopped(reason),
            Ok(Err(KindError::Retryable { code, message })) => Self::Retry(error(&code, &message)),
            Ok(Err(KindError::Permanent { code, message })) => Self::Failed(error(&code, &message)),
            Ok(Err(KindError::Stopped)) => {
                Self::Retry(error("stopped", "It stopped without being told to"))
            }
            Err(panic) => {
                let message = format!("The kind's code panicked: {}", panic_message(&*panic));
                Self::Retry(error("panicked", &message))
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    cut(text.unwrap_or("without a message"), LONGEST_PANIC)
}

fn error(code: &str, message: &str) -> TaskError {
    TaskError { code: code.to_owned(), message: cut(message, LONGEST_MESSAGE) }
}

fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
