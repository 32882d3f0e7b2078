//! The operations of workers on the tasks they run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_types::message::TaskReady;
use miniapp_types::task::{Status, TaskError};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Claimable, Claimant, Claimed, Committed, Tasks};
use crate::domain::{Command, Refusal, State, Task};
use crate::engine::{Claim, RenewedLease, StoreError};
use crate::error::Error;
use crate::writer::Applied;

impl Tasks {
    /// Claims the task of a message for `worker`. The caller sets `alone` if its process runs
    /// no other task, for as long as [`State::isolation`] requires.
    pub async fn claim(
        &self,
        ready: &TaskReady,
        worker: &Arc<str>,
        lease: SignedDuration,
        alone: bool,
    ) -> Result<Claimable, StoreError> {
        let claimant = Claimant { worker: worker.clone(), lease, runs: None };
        self.claim_for(ready, &claimant, alone).await
    }

    /// Claims the task of a message if `claimant` runs such tasks. See [`Tasks::claim`].
    pub async fn claim_for(
        &self,
        ready: &TaskReady,
        claimant: &Claimant,
        alone: bool,
    ) -> Result<Claimable, StoreError> {
        let TaskReady::V1 { task_id, generation, version, .. } = *ready;
        let Claimant { worker, lease, runs } = claimant.clone();
        let command = Command::Claim { generation, version, worker, lease, alone, runs };
        match self.apply(None, task_id, command).await {
            Ok(Applied { task, batch_size, .. }) => {
                let claim = Claim { task_id, token: task.state.claim };
                Ok(Claimed { claim, task, batch_size: Some(batch_size) }.into())
            }
            Err(Error::Store(error)) => Err(error),
            Err(Error::Refused(Refusal::RunsAlone)) => Ok(Claimable::RunsAlone),
            Err(Error::Refused(Refusal::NotRun)) => Ok(Claimable::NotRun),
            Err(
                Error::NotFound | Error::KeyReused | Error::VersionConflict | Error::Refused(_),
            ) => Ok(Claimable::Stale),
        }
    }

    /// Returns the task of a message to the store, because the consumer of the message does not run
    /// it. Another one is published after a moment, if a live worker runs the task. The attempt is
    /// not counted.
    pub async fn return_offer(&self, ready: &TaskReady) -> Result<(), StoreError> {
        let TaskReady::V1 { task_id, version, .. } = *ready;
        // Relays wait for two seconds before they take it, in which its workers may appear.
        self.engine.defer(&[(task_id, version)], self.clock.now()).await
    }

    /// Returns the claim of a call to [`Tasks::claim`] whose response was lost.
    ///
    /// The caller has to know that it runs no attempt of this task, and to pass the time
    /// `since` of its first call: an older claim under the same worker name belongs to a
    /// worker that has died.
    pub async fn recover_lost_claim(
        &self,
        ready: &TaskReady,
        worker: &str,
        since: Timestamp,
    ) -> Result<Option<Claimed>, StoreError> {
        let TaskReady::V1 { task_id, generation, .. } = *ready;
        let task = self.read(task_id).await?;
        let is_own = |task: &Task| {
            let State { status, worker: holder, .. } = &task.state;
            *status == Status::Executing
                && task.state.generation == generation
                && holder.as_deref() == Some(worker)
                && task.state.started_at >= Some(since)
                && task.state.lease_until > Some(self.clock.now())
        };
        Ok(task.filter(is_own).map(|task| {
            let claim = Claim { task_id, token: task.state.claim };
            Claimed { claim, task, batch_size: None }
        }))
    }

    /// Returns a task of any owner, also a deleted one.
    pub async fn find(&self, id: Uuid) -> Result<Option<Task>, StoreError> {
        self.read(id).await
    }

    /// Requests an attempt to stop because its ttl has ended. The task is canceled after `grace`.
    pub async fn request_stop(
        &self,
        claim: Claim,
        grace: SignedDuration,
    ) -> Result<Committed, Error> {
        self.apply_claimed(claim, |claim| Command::RequestStop { claim, grace }).await
    }

    /// Records the progress of an attempt, from 0 to 1.
    pub async fn progress(
        &self,
        claim: Claim,
        progress: f64,
        message: Option<String>,
    ) -> Result<Committed, Error> {
        self.apply_claimed(claim, |claim| Command::Progress { claim, progress, message }).await
    }

    /// Finishes a task with a result.
    pub async fn finish(
        &self,
        claim: Claim,
        result: impl Into<Arc<RawValue>>,
    ) -> Result<Committed, Error> {
        let result = result.into();
        self.apply_claimed(claim, |claim| Command::Finish { claim, result }).await
    }

    /// Records a failed attempt and schedules the next one after `delay`, if any is left.
    pub async fn retry(
        &self,
        claim: Claim,
        error: TaskError,
        delay: Duration,
    ) -> Result<Committed, Error> {
        let retry_in = Some(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX));
        self.apply_claimed(claim, |claim| Command::Fail { claim, error, retry_in }).await
    }

    /// Fails a task without a further attempt.
    pub async fn fail(&self, claim: Claim, error: TaskError) -> Result<Committed, Error> {
        self.apply_claimed(claim, |claim| Command::Fail { claim, error, retry_in: None }).await
    }

    /// Cancels a task whose attempt was stopped at the owner's request.
    pub async fn confirm_cancel(&self, claim: Claim) -> Result<Committed, Error> {
        self.apply_claimed(claim, |claim| Command::ConfirmCancel { claim }).await
    }

    /// Cancels a task whose attempt was stopped at its ttl.
    pub async fn exceed_ttl(&self, claim: Claim) -> Result<Committed, Error> {
        self.apply_claimed(claim, |claim| Command::ExceedTtl { claim }).await
    }

    /// Returns an unfinished task to the queue. The attempt is not counted.
    pub async fn release(&self, claim: Claim) -> Result<Committed, Error> {
        self.apply_claimed(claim, |claim| Command::Release { claim }).await
    }

    /// Renews the leases of `claims`. Claims missing from the result are lost: their attempts
    /// have to stop, and nothing they write is accepted.
    pub async fn renew(
        &self,
        claims: &[Claim],
        lease: SignedDuration,
    ) -> Result<Vec<RenewedLease>, StoreError> {
        let until = self.clock.now().saturating_add(lease).unwrap_or(Timestamp::MAX);
        self.engine.renew(claims, until).await
    }

    /// Returns the remembered steps of a claimed task by name, or `None` if the claim is lost.
    pub async fn steps(
        &self,
        claim: Claim,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        self.engine.steps(claim).await
    }

    /// Remembers the result of a step for later attempts of the same generation. Returns `false`
    /// if the claim is lost.
    pub async fn remember_step(
        &self,
        claim: Claim,
        name: &str,
        result: &RawValue,
    ) -> Result<bool, StoreError> {
        self.engine.remember_step(claim, name, result).await
    }

    async fn apply_claimed(
        &self,
        claim: Claim,
        command: impl FnOnce(u64) -> Command,
    ) -> Result<Committed, Error> {
        let Applied { task, batch_size, .. } =
            self.apply(None, claim.task_id, command(claim.token)).await?;
        Ok(Committed { task, batch_size })
    }
}
