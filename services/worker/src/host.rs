//! Connects the context of an attempt with its worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use miniapp_kind::{AttemptInfo, Context, Host, KindError};
use miniapp_runtime::retry::Retry;
use miniapp_tasks::{StoreError, Task, Tasks};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tracing::Span;

use crate::attempt::{Attempt, Stop};

/// The worker's side of a [`Context`].
pub(crate) struct AttemptHost {
    attempt: Arc<Attempt>,
    kind: String,
    tasks: Tasks,
    progressed: Arc<Notify>,
    /// The span of the attempt. Kinds log from other threads, too.
    span: Span,
}

/// Returns the context of an attempt. Called within the span of the attempt.
pub(crate) fn context(
    attempt: &Arc<Attempt>,
    task: &Task,
    tasks: &Tasks,
    progressed: &Arc<Notify>,
) -> Context {
    let info = AttemptInfo {
        task_id: task.id,
        attempt_id: attempt.claim.attempt_id(),
        idempotency_key: task.idempotency_key(),
        attempt: attempt.number,
        max_attempts: task.spec.max_attempts,
        ttl: attempt.ttl,
        seed: attempt.seed,
    };
    let host = AttemptHost {
        attempt: attempt.clone(),
        kind: task.spec.kind.clone(),
        tasks: tasks.clone(),
        progressed: progressed.clone(),
        span: Span::current(),
    };
    Context::new(info, attempt.stop_token(), host)
}

impl AttemptHost {
    /// Calls the store until it responds, at least once. `None` is the response that the attempt
    /// has lost its claim.
    async fn call<T, F>(
        &self,
        operation: &'static str,
        call: impl Fn() -> F,
    ) -> Result<T, KindError>
    where
        F: Future<Output = Result<Option<T>, StoreError>>,
    {
        let mut retry = Retry::new(operation, self.attempt.seed);
        loop {
            match call().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {
                    self.attempt.stop(Stop::LeaseLost);
                    return Err(KindError::Stopped);
                }
                Err(error) => {
                    let delay = retry.failed(&error);
                    tokio::select! {
                        biased;
                        () = self.attempt.stopped() => return Err(KindError::Stopped),
                        () = tokio::time::sleep(delay) => {}
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Host for AttemptHost {
    fn progress(&self, progress: f64, message: String) {
        self.attempt.set_progress(progress, message);
        self.progressed.notify_one();
    }

    fn log(&self, line: &str) {
        let Attempt { claim, number, .. } = &*self.attempt;
        self.span.in_scope(|| {
            tracing::info!(task.id = %claim.task_id, kind = self.kind, attempt = number, "{line}");
        });
    }

    async fn steps(&self) -> Result<BTreeMap<String, Box<RawValue>>, KindError> {
        self.call("loading steps", || self.tasks.steps(self.attempt.claim)).await
    }

    async fn remember_step(&self, name: &str, result: &RawValue) -> Result<(), KindError> {
        let (tasks, claim) = (&self.tasks, self.attempt.claim);
        let remember =
            || async move { Ok(tasks.remember_step(claim, name, result).await?.then_some(())) };
        self.call("remembering a step", remember).await
    }
}
