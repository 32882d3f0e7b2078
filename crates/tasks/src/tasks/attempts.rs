//! What a worker does with the tasks that it runs.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::backoff::Backoff;
use miniapp_types::message::TaskReady;
use miniapp_types::task::{Status, TaskError};
use serde_json::value::RawValue;

use super::{Error, Tasks};
use crate::domain::{Command, State, Task};
use crate::engine::{Claim, RenewedLease, StoreError};

/// The delays between the attempts of a task.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(10));

impl Tasks {
    /// Claims the task a message is about, for `worker`. `None`: there is nothing to claim,
    /// the message is a copy or has been overtaken.
    pub async fn claim(
        &self,
        ready: &TaskReady,
        worker: &Arc<str>,
        lease: SignedDuration,
    ) -> Result<Option<(Claim, Task)>, StoreError> {
        let TaskReady::V1 { task_id, generation, version } = *ready;
        let command = Command::Claim { generation, version, worker: worker.clone(), lease };
        match self.apply(None, task_id, command).await {
            Ok(task) => Ok(Some((Claim { task_id, token: task.state.claim }, task))),
            Err(Error::Store(error)) => Err(error),
            Err(Error::NotFound | Error::KeyReused | Error::Refused(_)) => Ok(None),
        }
    }

    /// The claim that `worker` has on the task a message is about, got by a call whose
    /// answer it never heard. Only for a worker that knows that it runs no such attempt, and
    /// that has asked for this one since `since`: what was claimed before is of another one
    /// that went by the same name, and died.
    pub async fn recover_lost_claim(
        &self,
        ready: &TaskReady,
        worker: &str,
        since: Timestamp,
    ) -> Result<Option<(Claim, Task)>, StoreError> {
        let TaskReady::V1 { task_id, generation, .. } = *ready;
        let read = self.read(task_id).await?;
        let is_its_own = |task: &Task| {
            let State { status, worker: holder, .. } = &task.state;
            *status == Status::Executing
                && task.state.generation == generation
                && holder.as_deref() == Some(worker)
                && task.state.started_at >= Some(since)
                && task.state.lease_until > Some(self.clock.now())
        };
        let own = read.filter(is_its_own);
        Ok(own.map(|task| (Claim { task_id, token: task.state.claim }, task)))
    }

    /// Notes how far an attempt is.
    pub async fn progress(
        &self,
        claim: Claim,
        progress: f64,
        message: Option<String>,
    ) -> Result<Task, Error> {
        self.held(claim, |claim| Command::Progress { claim, progress, message }).await
    }

    /// Ends a task with a result.
    pub async fn finish(&self, claim: Claim, result: Box<RawValue>) -> Result<Task, Error> {
        let result = Arc::from(result);
        self.held(claim, |claim| Command::Finish { claim, result }).await
    }

    /// Notes that an attempt failed in a way that another one may mend. `jitter`, from 0
    /// to 1, spreads the attempts that follow.
    pub async fn retry(
        &self,
        claim: Claim,
        attempt: u32,
        error: TaskError,
        jitter: f64,
    ) -> Result<Task, Error> {
        let delay = BACKOFF.delay(attempt.saturating_sub(1), jitter);
        let retry_in = Some(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX));
        self.held(claim, |claim| Command::Fail { claim, error, retry_in }).await
    }

    /// Ends a task as failed.
    pub async fn fail(&self, claim: Claim, error: TaskError) -> Result<Task, Error> {
        self.held(claim, |claim| Command::Fail { claim, error, retry_in: None }).await
    }

    /// Ends a task whose running attempt was stopped because its owner asked for it.
    pub async fn confirm_cancel(&self, claim: Claim) -> Result<Task, Error> {
        self.held(claim, |claim| Command::ConfirmCancel { claim }).await
    }

    /// Ends a task whose running attempt was stopped at its ttl.
    pub async fn exceed_ttl(&self, claim: Claim) -> Result<Task, Error> {
        self.held(claim, |claim| Command::ExceedTtl { claim }).await
    }

    /// Hands a task back unfinished; the attempt isn't counted.
    pub async fn release(&self, claim: Claim) -> Result<Task, Error> {
        self.held(claim, |claim| Command::Release { claim }).await
    }

    /// Renews the leases of all that a worker holds. Claims that are missing in the answer
    /// are lost: their attempts must stop, nothing they write counts.
    pub async fn renew(
        &self,
        claims: &[Claim],
        lease: SignedDuration,
    ) -> Result<Vec<RenewedLease>, StoreError> {
        let until = self.clock.now().saturating_add(lease).unwrap_or(Timestamp::MAX);
        self.engine.renew(claims, until).await
    }

    async fn held(
        &self,
        claim: Claim,
        command: impl FnOnce(u64) -> Command,
    ) -> Result<Task, Error> {
        self.apply(None, claim.task_id, command(claim.token)).await
    }
}
