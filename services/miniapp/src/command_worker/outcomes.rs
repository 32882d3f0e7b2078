//! Sends the outcomes of attempts.

use std::sync::Arc;
use std::time::Duration;

use miniapp_client::Error;
use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::worker::{AttemptError, AttemptOutcome, OutcomeRequest};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use super::attempt::{Attempt, Attempts, Stop};
use super::{CommandWorker, Fatal};

/// Bytes and number of outcomes of a call. The API accepts bodies of 1 MiB.
const MAX_BYTES: usize = 700 * 1024;
const MAX_OUTCOMES: usize = 100;
/// How long outcomes are sent after the shutdown has begun and the platform does not answer.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Result(Box<serde_json::value::RawValue>),
    Error(AttemptError),
    Stopped(Stop),
}

pub(super) type Ended = (Arc<Attempt>, Outcome);

/// Sends outcomes until the last sender is gone.
pub(super) async fn run(
    worker: &CommandWorker,
    mut ended: UnboundedReceiver<Ended>,
    attempts: &Attempts,
    fatal: &Fatal,
    shutdown: &Shutdown,
) {
    let mut waiting: Vec<Ended> = Vec::new();
    let mut retry = Retry::new("sending outcomes", rand::random());
    let mut give_up_at = None;
    loop {
        if waiting.is_empty() && ended.recv_many(&mut waiting, MAX_OUTCOMES).await == 0 {
            return;
        }
        // Attempts that are lost have no outcome.
        waiting.retain(|(attempt, outcome)| {
            let is_lost = matches!(outcome, Outcome::Stopped(Stop::Lost))
                || attempt.stop_reason() == Some(Stop::Lost);
            if is_lost {
                attempts.remove(attempt);
            }
            !is_lost
        });
        let count = batch_size(&waiting);
        match send(worker, &waiting[..count], attempts).await {
            Ok(()) => {
                retry.recovered();
                waiting.drain(..count);
            }
            Err(error) if is_unacceptable(&error) => {
                for one in waiting.drain(..count).collect::<Vec<_>>() {
                    send_alone(worker, one, attempts).await;
                }
            }
            Err(error) => {
                let delay = retry.failed(&error);
                worker.ui.note(format!("Sending outcomes failed: {error}"));
                let is_late = shutdown.has_begun()
                    && *give_up_at.get_or_insert_with(|| Instant::now() + SHUTDOWN_TIMEOUT)
                        < Instant::now();
                if !fatal.is_temporary(error, shutdown) || is_late {
                    return;
                }
                sleep(delay).await;
            }
        }
    }
}

/// Sends an outcome that may be one that the API cannot read. That one fails its task.
async fn send_alone(worker: &CommandWorker, one: Ended, attempts: &Attempts) {
    let Err(error) = send(worker, std::slice::from_ref(&one), attempts).await else { return };
    let message = error.to_string();
    let code = "invalid_result".to_owned();
    let error = AttemptError { code, message, retry: false, retry_in_seconds: None };
    let (attempt, _) = one;
    let replacement = (attempt.clone(), Outcome::Error(error));
    if let Err(error) = send(worker, &[replacement], attempts).await {
        // The task continues when its lease has ended.
        attempts.remove(&attempt);
        worker.ui.note(format!("The outcome of task {} was refused: {error}", attempt.task_id));
    }
}

fn batch_size(waiting: &[Ended]) -> usize {
    let mut bytes = 0;
    let fits = waiting.iter().take(MAX_OUTCOMES).take_while(|(_, outcome)| {
        let is_first = bytes == 0;
        bytes += 256
            + match outcome {
                Outcome::Result(result) => result.get().len(),
                Outcome::Error(error) => error.message.len(),
                Outcome::Stopped(_) => 0,
            };
        is_first || bytes <= MAX_BYTES
    });
    fits.count()
}

/// Whether the API cannot read the outcomes.
fn is_unacceptable(error: &Error) -> bool {
    matches!(error, Error::Problem { problem, .. } if matches!(problem.status, 400 | 413 | 422))
}

async fn send(worker: &CommandWorker, batch: &[Ended], attempts: &Attempts) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let outcomes = batch.iter().map(|(attempt, outcome)| body(attempt, outcome)).collect();
    let request = OutcomeRequest { worker: worker.name.clone(), outcomes };
    let settled = worker.client.end_attempts(&request).await?;
    for ((attempt, _), settled) in batch.iter().zip(settled.outcomes) {
        attempts.remove(attempt);
        if settled.refusal.is_some() {
            worker.ui.note(format!("The outcome of task {} came too late.", attempt.task_id));
        }
    }
    Ok(())
}

fn body(attempt: &Attempt, outcome: &Outcome) -> AttemptOutcome {
    let empty = AttemptOutcome {
        task_id: attempt.task_id,
        claim: attempt.claim,
        result: None,
        error: None,
        released: None,
        stopped: None,
    };
    match outcome.clone() {
        Outcome::Result(result) => AttemptOutcome { result: Some(result), ..empty },
        Outcome::Error(error) => AttemptOutcome { error: Some(error), ..empty },
        Outcome::Stopped(Stop::Shutdown) => AttemptOutcome { released: Some(true), ..empty },
        Outcome::Stopped(Stop::Requested | Stop::Lost) => {
            AttemptOutcome { stopped: Some(true), ..empty }
        }
    }
}
