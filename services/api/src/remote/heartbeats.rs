//! Heartbeats of workers.

use std::collections::HashMap;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::domain::TTL_EXCEEDED;
use miniapp_tasks::{Claim, Error, RenewedLease, StoreError, Task};
use miniapp_types::task::Status;
use miniapp_types::worker::{Heartbeat, RenewedClaim, StopReason};

use super::held::{Held, Report};
use super::{RemoteWorkers, Shared};

/// How long a worker may take to end an attempt that has to stop. Then its lease ends.
const STOP_GRACE: SignedDuration = SignedDuration::from_secs(5);
/// Characters of a progress message. Longer ones are cut off.
const MAX_MESSAGE: usize = 500;

type Answer = (Option<Timestamp>, Option<StopReason>);

impl RemoteWorkers {
    /// Renews claims and stores their progress. Returns their state in the same order.
    pub(crate) async fn heartbeat(
        &self,
        heartbeats: Vec<Heartbeat>,
    ) -> Result<Vec<RenewedClaim>, StoreError> {
        let shared = &*self.0;
        let claims: Vec<Claim> = heartbeats.iter().map(claim_of).collect();
        let answers = shared.renew(&claims).await?;
        let going = |claim: &Claim| answers.get(claim).is_some_and(|(_, stop)| stop.is_none());
        let reports = heartbeats.into_iter().filter(|one| going(&claim_of(one)));
        shared.store_progress(reports).await;
        let answer = |claim: Claim| {
            let (lease_until, stop) =
                answers.get(&claim).copied().unwrap_or((None, Some(StopReason::Lost)));
            RenewedClaim { task_id: claim.task_id, claim: claim.token, lease_until, stop }
        };
        Ok(claims.into_iter().map(answer).collect())
    }
}

fn claim_of(heartbeat: &Heartbeat) -> Claim {
    Claim { task_id: heartbeat.task_id, token: heartbeat.claim }
}

impl Shared {
    async fn renew(&self, claims: &[Claim]) -> Result<HashMap<Claim, Answer>, StoreError> {
        let mut answers = HashMap::with_capacity(claims.len());
        // The lease of an attempt that has to stop is not extended.
        let is_going =
            |claim: &&Claim| self.held.see(**claim).is_none_or(|held| held.stop.is_none());
        let going: Vec<Claim> = claims.iter().filter(is_going).copied().collect();
        let now = self.clock.now();
        let until = now.saturating_add(self.lease).unwrap_or(Timestamp::MAX);
        let renewed = if going.is_empty() {
            Vec::new()
        } else {
            self.tasks.renew(&going, self.lease).await?
        };
        let mut canceled = Vec::new();
        let mut expired = Vec::new();
        self.learn(&renewed).await?;
        for RenewedLease { claim, cancel_requested } in renewed {
            let is_expired = self.held.see(claim).is_some_and(|held| held.deadline <= now);
            match (cancel_requested, is_expired) {
                (true, _) => canceled.push(claim),
                (false, true) => expired.push(claim),
                (false, false) => _ = answers.insert(claim, (Some(until), None)),
            }
        }
        if !canceled.is_empty() {
            // The worker has this time from the first heartbeat that reports the stop.
            self.tasks.renew(&canceled, STOP_GRACE).await?;
        }
        let requests = expired.iter().map(|claim| self.tasks.request_stop(*claim, STOP_GRACE));
        for requested in join_all(requests).await {
            if let Err(Error::Store(error)) = requested {
                return Err(error);
            }
        }
        let unknown: Vec<Claim> =
            claims.iter().filter(|claim| !answers.contains_key(claim)).copied().collect();
        let tasks = join_all(unknown.iter().map(|claim| self.tasks.find(claim.task_id))).await;
        for (claim, task) in unknown.into_iter().zip(tasks) {
            let answer = state_of(claim, task?.as_ref());
            match answer.1 {
                Some(stop) if answer.0.is_some() => self.held.stop(claim, stop),
                _ => self.held.remove(claim),
            }
            answers.insert(claim, answer);
        }
        Ok(answers)
    }

    /// Reads the tasks of claims that another replica has granted.
    async fn learn(&self, renewed: &[RenewedLease]) -> Result<(), StoreError> {
        let unknown =
            renewed.iter().map(|one| one.claim).filter(|claim| !self.held.contains(*claim));
        let unknown: Vec<Claim> = unknown.collect();
        let tasks = join_all(unknown.iter().map(|claim| self.tasks.find(claim.task_id))).await;
        for (claim, task) in unknown.into_iter().zip(tasks) {
            if let Some(task) = task? {
                self.held.insert(claim, Held::new(&task));
            }
        }
        Ok(())
    }

    async fn store_progress(&self, heartbeats: impl Iterator<Item = Heartbeat>) {
        let due = heartbeats.filter_map(|heartbeat| {
            let claim = claim_of(&heartbeat);
            let report: Report = (heartbeat.progress, heartbeat.message.map(shortened));
            Some((claim, self.held.report(claim, report)?))
        });
        let due: Vec<(Claim, Report)> = due.collect();
        // Without a number, the progress stays as it is.
        let writes = due.into_iter().map(|(claim, (progress, message))| {
            self.tasks.progress(claim, progress.unwrap_or(f64::NAN), message)
        });
        for error in join_all(writes).await.into_iter().filter_map(Result::err) {
            // Harmless: the next report or the outcome replaces it.
            tracing::debug!(%error, "could not store progress");
        }
    }
}

/// Returns the state of a claim that was not renewed, or that has to stop.
fn state_of(claim: Claim, task: Option<&Task>) -> Answer {
    const LOST: Answer = (None, Some(StopReason::Lost));
    let Some(task) = task.filter(|task| task.state.claim == claim.token) else { return LOST };
    let state = &task.state;
    if state.deleted {
        return (None, Some(StopReason::Canceled));
    }
    match state.status {
        Status::Executing if state.cancel_requested => {
            let is_expired = state.message.as_deref() == Some(TTL_EXCEEDED);
            let reason = if is_expired { StopReason::Expired } else { StopReason::Canceled };
            (state.lease_until, Some(reason))
        }
        Status::Executing => (state.lease_until, None),
        Status::Canceled if state.message.as_deref() == Some(TTL_EXCEEDED) => {
            (None, Some(StopReason::Expired))
        }
        Status::Canceled => (None, Some(StopReason::Canceled)),
        Status::Awaiting | Status::Finished | Status::Failed => LOST,
    }
}

fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
    }
    message
}
