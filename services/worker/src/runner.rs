//! From a message to a committed outcome.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_broker::Delivery;
use miniapp_runtime::clock::Clock;
use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{Claim, Error, Task, Tasks, in_batch};
use miniapp_telemetry::metrics::Exemplar;
use miniapp_types::message::TaskReady;
use miniapp_types::task::Status;
use parking_lot::Mutex;
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::attempt::{Attempt, Stop};
use crate::context::Context;
use crate::kinds::Kinds;
use crate::metrics::{self, Counted};
use crate::outcome::Outcome;
use crate::running::Running;
use crate::spans::{self, Traced};

/// What all attempts of a worker share.
pub(crate) struct Runner {
    pub name: Arc<str>,
    pub tasks: Tasks,
    pub clock: Arc<dyn Clock>,
    pub kinds: Arc<Kinds>,
    pub lease: Duration,
    pub running: Running,
    /// Some attempt has said how far it is.
    pub progressed: Arc<Notify>,
    pub rng: Mutex<Xoshiro256PlusPlus>,
    pub shutdown: Shutdown,
}

impl Runner {
    /// Does what a message asks for, and settles it when the store knows the outcome.
    pub async fn handle(&self, delivery: Delivery, mut traced: Traced) {
        let message = &delivery.message;
        let ready: TaskReady = match message.decode() {
            Ok(ready) => ready,
            Err(error) => {
                let id = message.id;
                tracing::warn!(message.id = %id, %error, "rejected a message that could not be decoded");
                delivery.reject().await;
                return traced.settled("reject");
            }
        };
        let TaskReady::V1 { task_id, .. } = ready;
        let _in_hand = self.running.hold(task_id);
        let asked_at = Instant::now();
        let (claimed, batch) = in_batch(self.claim(&ready)).await;
        let Some(claimed) = claimed else {
            delivery.release().await;
            return traced.settled("nack");
        };
        traced.claimed(claimed.as_ref(), batch);
        // Otherwise it is a copy, or overtaken by something newer.
        if let Some((claim, task)) = claimed {
            self.run(claim, &task, asked_at, &mut traced).await;
        }
        delivery.ack().await;
        traced.settled("ack");
    }

    /// Claims the task, or finds that there is nothing to claim. `None`: the store is away
    /// and the worker stops.
    async fn claim(&self, ready: &TaskReady) -> Option<Option<(Claim, Task)>> {
        let mut retry = self.retries("claiming a task");
        let mut is_first = true;
        let since = self.clock.now();
        loop {
            let claimed = match self.tasks.claim(ready, &self.name, self.lease()).await {
                // A call that failed may have counted: then the claim to find is its own.
                Ok(None) if !is_first => {
                    self.tasks.recover_lost_claim(ready, &self.name, since).await
                }
                claimed => claimed,
            };
            is_first = false;
            match claimed {
                Ok(claimed) => return Some(claimed),
                Err(error) => {
                    let pause = sleep(retry.failed(&error));
                    self.shutdown.token().run_until_cancelled(pause).await?;
                }
            }
        }
    }

    async fn run(&self, claim: Claim, task: &Task, asked_at: Instant, traced: &mut Traced) {
        let (spec, number) = (&task.spec, task.state.attempt);
        let ttl = Duration::from_secs(spec.ttl.into());
        let seed = self.rng.lock().random();
        let attempt = Arc::new(Attempt::new(claim, number, ttl, seed, asked_at + self.lease));
        if !self.running.begin(&attempt, asked_at) {
            // A copy of the message found the claim first.
            return traced.forfeit();
        }
        let span = traced.attempt(task);
        let exemplar = Exemplar::from_span(&span);
        let counted = Counted::begin(asked_at, exemplar);
        let kind = self.kinds.get(&spec.kind);
        let outcome = async {
            let Some(kind) = kind else { return Outcome::unknown_kind(&spec.kind) };
            let context =
                Context::new(attempt.clone(), self.clock.clone(), self.progressed.clone());
            Outcome::of(kind, &attempt, &context, &spec.data).await
        };
        let outcome = outcome.instrument(span.clone()).await;
        spans::ended(&span, task, &outcome);
        traced.ran(&outcome);
        let kind_name = kind.map_or("unknown", |_| &spec.kind);
        counted.end(kind_name, outcome.name(), exemplar);
        drop(span);
        let (was_lost, batch) = in_batch(self.commit(&attempt, &outcome)).await;
        traced.committed(was_lost, batch);
        self.running.end(claim);
    }

    /// Tells the store the outcome, as often as it takes. Gives up when the task has been
    /// out of this worker's hands for long: by then it runs elsewhere. Answers whether the
    /// claim was lost.
    async fn commit(&self, attempt: &Attempt, outcome: &Outcome) -> bool {
        let mut retry = self.retries("committing an outcome");
        loop {
            let error = match self.write(attempt, outcome).await {
                Ok(()) => return matches!(outcome, Outcome::Stopped(Stop::LeaseLost)),
                Err(Error::Store(error)) => error,
                Err(refusal) => {
                    let task_id = attempt.claim.task_id;
                    tracing::info!(task.id = %task_id, %refusal, "outcome rejected: the claim is no longer valid");
                    return matches!(refusal, Error::Refused(_));
                }
            };
            let pause = retry.failed(&error);
            if Instant::now() + pause > attempt.lease_until() + self.lease {
                let task_id = attempt.claim.task_id;
                tracing::warn!(task.id = %task_id, %error, "gave up committing an outcome: the lease expired");
                return true;
            }
            sleep(pause).await;
        }
    }

    async fn write(&self, attempt: &Attempt, outcome: &Outcome) -> Result<(), Error> {
        let (tasks, claim) = (&self.tasks, attempt.claim);
        let written = match outcome {
            Outcome::Finished(result) => tasks.finish(claim, result.clone()).await,
            Outcome::Retry(error) => {
                let jitter = self.rng.lock().random();
                let written = tasks.retry(claim, attempt.number, error.clone(), jitter).await;
                if let Ok(Task { spec, state, .. }) = &written
                    && state.status == Status::Awaiting
                {
                    metrics::retried(&spec.kind);
                }
                written
            }
            Outcome::Failed(error) => tasks.fail(claim, error.clone()).await,
            Outcome::Stopped(Stop::Expired) => tasks.exceed_ttl(claim).await,
            Outcome::Stopped(Stop::Shutdown) => tasks.release(claim).await,
            Outcome::Stopped(Stop::LeaseLost) => return Ok(()),
            Outcome::Stopped(Stop::Canceled) => match tasks.confirm_cancel(claim).await {
                // The cancel was meant for an earlier generation: nothing was asked of
                // this one.
                Err(Error::Refused(_)) => tasks.release(claim).await,
                written => written,
            },
        };
        written.map(drop)
    }

    /// Follows something that this worker tries until it works.
    pub fn retries(&self, what: &'static str) -> Retry {
        Retry::new(what, self.rng.lock().random())
    }

    /// The lease in the facade's type.
    pub fn lease(&self) -> SignedDuration {
        SignedDuration::try_from(self.lease).unwrap_or(SignedDuration::MAX)
    }
}
