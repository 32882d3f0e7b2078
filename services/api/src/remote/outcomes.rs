//! Outcomes of attempts.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_runtime::backoff::Backoff;
use miniapp_tasks::{Claim, Error, Outcome, StoreError, Task, record_attempt, task_error};
use miniapp_types::task::Status;
use miniapp_types::worker::{AttemptOutcome, OutcomeRefusal, SettledOutcome};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use super::held::Held;
use super::{RemoteWorkers, Shared};

/// The number of accepted outcomes that are remembered.
const MAX_ACCEPTED: usize = 10_000;

impl RemoteWorkers {
    /// Commits outcomes. Returns the results in the same order. After an error, some of them may
    /// be committed; they can be repeated.
    pub(crate) async fn settle(
        &self,
        outcomes: Vec<AttemptOutcome>,
    ) -> Result<Vec<SettledOutcome>, StoreError> {
        let settled = outcomes.into_iter().map(|outcome| self.0.settle(outcome));
        join_all(settled).await.into_iter().collect()
    }
}

impl Shared {
    async fn settle(&self, sent: AttemptOutcome) -> Result<SettledOutcome, StoreError> {
        let claim = Claim { task_id: sent.task_id, token: sent.claim };
        let refusal = self.refusal(claim, sent).await?;
        Ok(SettledOutcome {
            task_id: claim.task_id,
            claim: claim.token,
            accepted: refusal.is_none(),
            refusal,
        })
    }

    /// Commits an outcome, or returns why it is not accepted.
    async fn refusal(
        &self,
        claim: Claim,
        sent: AttemptOutcome,
    ) -> Result<Option<OutcomeRefusal>, StoreError> {
        let fingerprint = fingerprint(&sent);
        match self.accepted.get(claim) {
            Some(accepted) if accepted == fingerprint => return Ok(None),
            Some(_) => return Ok(Some(OutcomeRefusal::AlreadyEnded)),
            None => {}
        }
        let outcome = self.outcome(claim, sent).await?;
        let (name, error) = describe(&outcome);
        match self.tasks.commit(claim, outcome.clone()).await {
            Ok(committed) => {
                record_attempt(&committed.task, claim.token, name, error.as_deref(), &*self.clock);
            }
            Err(Error::Store(error)) => return Err(error),
            Err(_) => match self.tasks.find(claim.task_id).await? {
                // The response to the same outcome was lost.
                Some(task) if outcome.explains(&task, claim.token) => {}
                task => {
                    let refusal = self.explain(claim, &outcome, task.as_ref()).await?;
                    if refusal.is_some() {
                        return Ok(refusal);
                    }
                }
            },
        }
        self.accepted.insert(claim, fingerprint);
        self.held.remove(claim);
        Ok(None)
    }

    async fn outcome(&self, claim: Claim, sent: AttemptOutcome) -> Result<Outcome, StoreError> {
        let AttemptOutcome { result, error, released, .. } = sent;
        if let Some(result) = result {
            return Ok(Outcome::of_result(result));
        }
        let Some(error) = error else {
            return Ok(if released == Some(true) { Outcome::Released } else { Outcome::Stopped });
        };
        let failure = task_error(&error.code, &error.message);
        if !error.retry {
            return Ok(Outcome::Failed(failure));
        }
        let delay = if let Some(seconds) = error.retry_in_seconds {
            Duration::from_secs(seconds.into())
        } else {
            let attempt = if let Some(held) = self.held.see(claim) {
                held.attempt
            } else {
                self.tasks.find(claim.task_id).await?.map_or(1, |task| task.state.attempt)
            };
            Backoff::default().random_delay(attempt.saturating_sub(1))
        };
        Ok(Outcome::Retry { error: failure, delay })
    }

    /// Returns why the store has refused an outcome. A worker that stops at the ttl, before a
    /// heartbeat has shown that, ends the task.
    async fn explain(
        &self,
        claim: Claim,
        outcome: &Outcome,
        task: Option<&Task>,
    ) -> Result<Option<OutcomeRefusal>, StoreError> {
        let Some(task) = task.filter(|task| task.state.claim == claim.token) else {
            return Ok(Some(OutcomeRefusal::Lost));
        };
        match task.state.status {
            Status::Executing if matches!(outcome, Outcome::Stopped) => {
                let is_expired = Held::new(task).deadline <= self.clock.now();
                if !is_expired {
                    return Ok(Some(OutcomeRefusal::NotStopped));
                }
                match self.tasks.exceed_ttl(claim).await {
                    Ok(committed) => {
                        let (name, error) = describe(outcome);
                        let task = &committed.task;
                        record_attempt(task, claim.token, name, error.as_deref(), &*self.clock);
                        Ok(None)
                    }
                    Err(Error::Store(error)) => Err(error),
                    Err(_) => Ok(Some(OutcomeRefusal::Lost)),
                }
            }
            Status::Executing | Status::Awaiting => Ok(Some(OutcomeRefusal::Lost)),
            Status::Finished | Status::Canceled | Status::Failed => {
                Ok(Some(OutcomeRefusal::AlreadyEnded))
            }
        }
    }
}

/// Returns the name of an outcome and the code of its error, for spans.
fn describe(outcome: &Outcome) -> (&'static str, Option<String>) {
    match outcome {
        Outcome::Finished(_) => ("finished", None),
        Outcome::Retry { error, .. } | Outcome::Failed(error) => {
            ("failed", Some(error.code.clone()))
        }
        Outcome::Released => ("released", None),
        Outcome::Stopped => ("stopped", None),
    }
}

type Fingerprint = [u8; 32];

fn fingerprint(outcome: &AttemptOutcome) -> Fingerprint {
    let json = serde_json::to_vec(outcome).unwrap_or_default();
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest(&SHA256, &json).as_ref());
    fingerprint
}

/// The latest accepted outcomes. A repeated one is recognized even after the task was claimed
/// again; older ones are compared with the state of their task.
#[derive(Debug, Default)]
pub(super) struct AcceptedOutcomes(Mutex<(HashMap<Claim, Fingerprint>, VecDeque<Claim>)>);

impl AcceptedOutcomes {
    fn get(&self, claim: Claim) -> Option<Fingerprint> {
        self.0.lock().0.get(&claim).copied()
    }

    fn insert(&self, claim: Claim, fingerprint: Fingerprint) {
        let (accepted, order) = &mut *self.0.lock();
        if accepted.insert(claim, fingerprint).is_none() {
            order.push_back(claim);
        }
        if order.len() > MAX_ACCEPTED
            && let Some(oldest) = order.pop_front()
        {
            accepted.remove(&oldest);
        }
    }
}
