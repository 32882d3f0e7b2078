//! Processing an offer: claim, acknowledge, attempt, commit.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_kind::Backoff;
use miniapp_runtime::clock::Clock;
use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::domain::Capability;
use miniapp_tasks::{Claimable, Claimant, Committed, Error, Offer, Task, Tasks};
use miniapp_types::message::TaskReady;
use miniapp_types::task::Status;
use parking_lot::Mutex;
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::attempt::{Attempt, Stop};
use crate::claimed::{Claimed, Commit};
use crate::host;
use crate::isolation::{Isolation, Turn};
use crate::kinds::{ErasedKind, Kinds};
use crate::metrics;
use crate::observer::Observer;
use crate::outcome::Outcome;
use crate::running::RunningAttempts;

/// The maximum delay of another attempt, whatever a kind returns.
const MAX_RETRY_DELAY: Duration = Duration::from_hours(24);

/// The state shared by the attempts of a worker.
pub(crate) struct Runner {
    pub name: Arc<str>,
    pub tasks: Tasks,
    pub clock: Arc<dyn Clock>,
    pub kinds: Arc<Kinds>,
    /// The tasks that it runs.
    pub runs: Arc<Capability>,
    pub isolation: Isolation,
    pub lease: Duration,
    /// How long running tasks may continue when they have to stop.
    pub grace: Duration,
    pub running: RunningAttempts,
    /// Notified when an attempt reports progress.
    pub progressed: Arc<Notify>,
    pub rng: Mutex<Xoshiro256PlusPlus>,
    pub shutdown: Shutdown,
}

impl Runner {
    /// Claims the offered task, acknowledges the offer, and makes an attempt.
    pub async fn process(&self, offer: Offer, mut turn: Turn, mut observer: Observer) {
        let ready: TaskReady = match offer.message().decode() {
            Ok(ready) => ready,
            Err(error) => {
                let id = offer.message().id;
                tracing::warn!(
                    message.id = %id,
                    %error,
                    "rejected a message that could not be decoded"
                );
                return observer.reject(offer).await;
            }
        };
        let TaskReady::V1 { task_id, .. } = ready;
        let _inflight = self.running.track_message(task_id);
        let mut requested_at = Instant::now();
        let mut claimed = observer.claim(self.claim(&ready, false)).await;
        if matches!(claimed, Claimed::RunsAlone) {
            drop(turn);
            tracing::warn!(
                task.id = %task_id,
                "the task lost its workers several times and has to run alone; others have the \
                 grace period to finish"
            );
            let alone = self.isolation.alone(self.grace);
            let alone = self.shutdown.token().run_until_cancelled(alone).await;
            let Some(alone) = alone.flatten() else {
                return observer.release(offer).await;
            };
            turn = alone;
            requested_at = Instant::now();
            claimed = observer.claim(self.claim(&ready, true)).await;
        }
        match claimed {
            Claimed::Mine(claimed) => {
                let begun = self.begin(&claimed, requested_at);
                // The lease protects the task from here on.
                observer.ack(offer).await;
                match begun {
                    Some(attempt) => {
                        let task = &claimed.task;
                        self.execute(&attempt, task, requested_at, &mut turn, &mut observer).await;
                    }
                    None => observer.discard_attempt(),
                }
            }
            Claimed::Stale | Claimed::RunsAlone => observer.drop_stale(offer).await,
            // Another consumer may take it. If it comes back, it is left to the store.
            Claimed::NotRun if !offer.delivery.redelivered => observer.release(offer).await,
            Claimed::NotRun => match self.tasks.return_offer(&ready).await {
                Ok(()) => observer.give_back(offer).await,
                Err(error) => {
                    tracing::warn!(task.id = %task_id, %error, "could not return a task to the store");
                    observer.release(offer).await;
                }
            },
            Claimed::Stopping => observer.release(offer).await,
        }
    }

    /// Adds the attempt of a claim to the running ones. Returns `None` if a copy of the message
    /// found the claim first.
    fn begin(
        &self,
        claimed: &miniapp_tasks::Claimed,
        requested_at: Instant,
    ) -> Option<Arc<Attempt>> {
        let Task { spec, state, .. } = &claimed.task;
        let ttl = Duration::from_secs(spec.ttl.into());
        let seed = self.rng.lock().random();
        let lease_until = requested_at + self.lease;
        let attempt = Attempt::new(claimed.claim, state.attempt, ttl, seed, lease_until);
        let attempt = Arc::new(attempt);
        self.running.begin(&attempt, requested_at).then_some(attempt)
    }

    /// Claims the task. Retries until the store responds or the worker stops.
    async fn claim(&self, ready: &TaskReady, alone: bool) -> Claimed {
        let mut retry = self.retry("claiming a task");
        let mut is_first = true;
        let since = self.clock.now();
        let (worker, lease) = (self.name.clone(), self.lease());
        let claimant = Claimant { worker, lease, runs: Some(self.runs.clone()) };
        loop {
            let claimed = match self.tasks.claim_for(ready, &claimant, alone).await {
                // A failed call may have succeeded in the store. Then the claim is this worker's.
                Ok(Claimable::Stale) if !is_first => {
                    let own = self.tasks.recover_lost_claim(ready, &self.name, since).await;
                    own.map(|own| own.map_or(Claimable::Stale, Claimable::from))
                }
                claimed => claimed,
            };
            is_first = false;
            match claimed {
                Ok(Claimable::Claimed(claimed)) => return Claimed::Mine(claimed),
                Ok(Claimable::RunsAlone) => return Claimed::RunsAlone,
                Ok(Claimable::NotRun) => return Claimed::NotRun,
                Ok(Claimable::Stale) => return Claimed::Stale,
                Err(error) => {
                    let delay = sleep(retry.failed(&error));
                    if self.shutdown.token().run_until_cancelled(delay).await.is_none() {
                        return Claimed::Stopping;
                    }
                }
            }
        }
    }

    /// Makes an attempt and commits its outcome.
    async fn execute(
        &self,
        attempt: &Arc<Attempt>,
        task: &Task,
        requested_at: Instant,
        turn: &mut Turn,
        observer: &mut Observer,
    ) {
        let spec = &task.spec;
        let kind = self.kinds.get(&spec.kind);
        let isolation = task.state.isolation().unwrap_or_default();
        let isolation = Duration::try_from(isolation).unwrap_or(Duration::MAX);
        let run = turn.run(isolation, attempt, async {
            let Some(kind) = kind else { return Outcome::unknown_kind(&spec.kind) };
            let context = host::context(attempt, task, &self.tasks, &self.progressed);
            Outcome::of(kind, attempt, &context, &spec.data).await
        });
        let outcome = observer.run(task, kind.is_some(), requested_at, run).await;
        observer.commit(self.commit(attempt, kind, &outcome)).await;
        self.running.end(attempt.claim);
    }

    /// Commits the outcome. Retries until one lease after the attempt's has expired: by then
    /// another worker has the task.
    async fn commit(
        &self,
        attempt: &Attempt,
        kind: Option<&dyn ErasedKind>,
        outcome: &Outcome,
    ) -> Commit {
        let mut retry = self.retry("committing an outcome");
        let task_id = attempt.claim.task_id;
        loop {
            let error = match self.write(attempt, kind, outcome).await {
                Ok(Some(Committed { batch_size, .. })) => {
                    return Commit::Stored { batch_size: Some(batch_size) };
                }
                Ok(None) => return Commit::ClaimLost,
                Err(Error::Store(error)) => error,
                Err(refusal) => {
                    tracing::info!(
                        task.id = %task_id,
                        %refusal,
                        "outcome rejected: the claim is no longer valid"
                    );
                    let is_lost = matches!(refusal, Error::Refused(_));
                    return if is_lost {
                        Commit::ClaimLost
                    } else {
                        Commit::Stored { batch_size: None }
                    };
                }
            };
            let delay = retry.failed(&error);
            if Instant::now() + delay > attempt.lease_until() + self.lease {
                tracing::warn!(
                    task.id = %task_id,
                    %error,
                    "gave up committing an outcome: the lease expired"
                );
                return Commit::ClaimLost;
            }
            sleep(delay).await;
        }
    }

    async fn write(
        &self,
        attempt: &Attempt,
        kind: Option<&dyn ErasedKind>,
        outcome: &Outcome,
    ) -> Result<Option<Committed>, Error> {
        let (tasks, claim) = (&self.tasks, attempt.claim);
        let written = match outcome {
            Outcome::Finished(result) => tasks.finish(claim, result.clone()).await,
            Outcome::Retry { error, retry_in } => {
                let number = attempt.number;
                let backoff = kind.map_or_else(Backoff::default, |kind| kind.retry(number));
                let jitter = self.rng.lock().random();
                let delay = backoff.delay(number.saturating_sub(1), jitter);
                let delay = retry_in.unwrap_or(delay).min(MAX_RETRY_DELAY);
                let written = tasks.retry(claim, error.clone(), delay).await;
                if let Ok(Committed { task: Task { spec, state, .. }, .. }) = &written
                    && state.status == Status::Awaiting
                {
                    metrics::record_retry(&spec.kind);
                }
                written
            }
            Outcome::Failed(error) => tasks.fail(claim, error.clone()).await,
            Outcome::Stopped(Stop::Expired) => tasks.exceed_ttl(claim).await,
            // A lost lease was possibly only not renewed in time, because the store was
            // unavailable. Then the task is returned before its lease counts as lost.
            Outcome::Stopped(Stop::Shutdown | Stop::Displaced | Stop::LeaseLost) => {
                tasks.release(claim).await
            }
            Outcome::Stopped(Stop::Canceled) => match tasks.confirm_cancel(claim).await {
                // The cancellation was for an earlier generation of the task.
                Err(Error::Refused(_)) => tasks.release(claim).await,
                written => written,
            },
        };
        written.map(Some)
    }

    /// Returns the retry policy for an operation. Jitter comes from the worker's seed.
    pub fn retry(&self, what: &'static str) -> Retry {
        Retry::new(what, self.rng.lock().random())
    }

    pub fn lease(&self) -> SignedDuration {
        SignedDuration::try_from(self.lease).unwrap_or(SignedDuration::MAX)
    }
}
