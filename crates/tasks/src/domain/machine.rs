//! The state machine: every change of a task is a [`Command`] that [`Task::apply`] accepts
//! or refuses.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use miniapp_types::task::{EventType, Status, TaskError};
use serde_json::value::RawValue;

use super::capability::Capability;
use super::task::{State, Task};

/// The status message of a task stopped at its ttl.
pub const TTL_EXCEEDED: &str = "TTL is shorter than the execution time";
/// The status message of a task that its worker returned.
pub const RELEASED: &str = "Handed back unfinished by its worker";

/// A requested change of a task.
///
/// Commands about a running attempt carry its fencing token. They are refused once the task
/// was claimed again or released.
#[derive(Clone, Debug)]
pub enum Command {
    /// A worker starts an attempt because of a message. The claim is refused if the task has
    /// another generation or version than the message.
    Claim {
        generation: u32,
        version: u64,
        worker: Arc<str>,
        /// Duration of the lease unless it is renewed.
        lease: SignedDuration,
        /// The worker's process runs nothing else, for as long as [`State::isolation`] requires.
        alone: bool,
        /// The tasks that the worker runs; `None`: all.
        runs: Option<Arc<Capability>>,
    },
    /// The attempt reports progress.
    Progress {
        claim: u64,
        /// From 0 to 1.
        progress: f64,
        message: Option<String>,
    },
    /// The attempt succeeded.
    Finish { claim: u64, result: Arc<RawValue> },
    /// The attempt failed.
    Fail {
        claim: u64,
        error: TaskError,
        /// Delay before the next attempt; `None` fails the task.
        retry_in: Option<SignedDuration>,
    },
    /// The attempt was stopped at the owner's request.
    ConfirmCancel { claim: u64 },
    /// The attempt was stopped at its ttl.
    ExceedTtl { claim: u64 },
    /// The attempt has exceeded its ttl and its worker is requested to stop it. The lease ends
    /// after `grace`.
    RequestStop { claim: u64, grace: SignedDuration },
    /// The worker shuts down and returns the task. The attempt is not counted.
    Release { claim: u64 },
    /// The reaper found that the lease of this version has ended. It is refused if the lease
    /// was renewed since.
    ExpireLease { version: u64 },
    /// The owner cancels the task.
    Cancel,
    /// The owner restarts a task in a final state.
    Restart,
    /// An administrator restarts a failed task.
    Requeue,
    /// The owner deletes the task.
    Delete,
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The command refers to an outdated version, claim or lease.
    #[error("the task has moved on")]
    Stale,
    /// The task may only be claimed by a worker whose process runs nothing else.
    #[error("the task lost its workers several times and has to run alone")]
    RunsAlone,
    /// The worker does not run tasks of this kind or of this queue.
    #[error("the worker does not run such tasks")]
    NotRun,
    /// The task was deleted.
    #[error("the task was removed")]
    Deleted,
    /// Only a task in a final state can be restarted.
    #[error("the task has not ended yet")]
    NotFinished,
    /// Only a failed task can be requeued.
    #[error("the task has not failed")]
    NotFailed,
    /// A task in a final state cannot be canceled.
    #[error("the task has already ended")]
    AlreadyFinished,
}

/// Resolution of stored times.
const TICK: SignedDuration = SignedDuration::from_micros(1);
/// Clock differences between processes below this are corrected.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The time of the change: not before the previous change, even if that was made by a
    /// process with a fast clock.
    pub at: Timestamp,
    pub state: State,
    /// The event of the change; `None` if nothing changed.
    pub event: Option<EventType>,
}

/// The next state and the event, if anything changed.
pub(super) type Next = (State, Option<EventType>);
type Decided = Result<Next, Refusal>;

impl Task {
    /// Returns the state after `command` at `now`.
    pub fn apply(&self, command: Command, now: Timestamp) -> Result<Transition, Refusal> {
        let at = self.state.next_moment(now);
        let (mut state, event) = self.decide(command, at)?;
        if event.is_some() {
            state.changed_at = at;
        }
        Ok(Transition { at, state, event })
    }

    fn decide(&self, command: Command, now: Timestamp) -> Decided {
        let state = &self.state;
        if state.deleted {
            return Err(Refusal::Deleted);
        }
        match command {
            Command::Claim { generation, version, worker, lease, alone, runs } => {
                if (state.status, state.generation, state.version)
                    != (Status::Awaiting, generation, version)
                {
                    return Err(Refusal::Stale);
                }
                if runs.is_some_and(|runs| !runs.includes(&self.spec.queue, &self.spec.kind)) {
                    return Err(Refusal::NotRun);
                }
                if state.isolation().is_some() && !alone {
                    return Err(Refusal::RunsAlone);
                }
                Ok(state.claimed(worker, now, lease))
            }
            Command::Progress { claim, progress, message } => {
                let mut next = state.claimed_by(claim)?.next();
                next.progress =
                    if progress.is_nan() { state.progress } else { progress.clamp(0.0, 1.0) };
                // The message of a requested stop is its reason.
                if !state.cancel_requested {
                    next.message = message.or(next.message);
                }
                Ok(next.with_event(EventType::Progress))
            }
            Command::Finish { claim, result } => {
                let mut next = state.claimed_by(claim)?.ended(Status::Finished, now);
                next.progress = 1.0;
                next.result = Some(result);
                next.error = None;
                next.message = None;
                Ok(next.with_event(EventType::Finished))
            }
            Command::Fail { claim, error, retry_in } => {
                let retry_at = retry_in
                    .filter(|_| {
                        state.attempt.saturating_sub(state.lost_leases) < self.spec.max_attempts
                    })
                    .map(|wait| now.saturating_add(wait).unwrap_or(Timestamp::MAX));
                Ok(state.claimed_by(claim)?.failed(error, retry_at, now))
            }
            Command::ConfirmCancel { claim } => {
                let claimed = state.claimed_by(claim)?;
                if !claimed.cancel_requested {
                    return Err(Refusal::Stale);
                }
                Ok(claimed.canceled(claimed.stop_reason(), now))
            }
            Command::ExceedTtl { claim } => {
                Ok(state.claimed_by(claim)?.canceled(TTL_EXCEEDED, now))
            }
            Command::RequestStop { claim, grace } => {
                let claimed = state.claimed_by(claim)?;
                if claimed.cancel_requested {
                    return Ok((claimed.clone(), None));
                }
                let until = now.saturating_add(grace).unwrap_or(Timestamp::MAX);
                let mut next = claimed.next();
                next.cancel_requested = true;
                next.message = Some(TTL_EXCEEDED.to_owned());
                next.lease_until = claimed.lease_until.map(|lease_until| lease_until.min(until));
                Ok(next.with_event(EventType::CancelRequested))
            }
            Command::Release { claim } => {
                let claimed = state.claimed_by(claim)?;
                if claimed.cancel_requested {
                    return Ok(claimed.canceled(claimed.stop_reason(), now));
                }
                let mut next = claimed.awaiting(now);
                next.attempt = next.attempt.saturating_sub(1);
                next.message = Some(RELEASED.to_owned());
                Ok(next.with_event(EventType::Released))
            }
            Command::ExpireLease { version } => {
                let is_unchanged = state.version == version && state.lease_until.is_some();
                if is_unchanged { Ok(state.lease_lost(now)) } else { Err(Refusal::Stale) }
            }
            Command::Cancel => state.cancel(now),
            Command::Restart | Command::Requeue if !state.status.is_terminal() => {
                Err(Refusal::NotFinished)
            }
            Command::Requeue if state.status != Status::Failed => Err(Refusal::NotFailed),
            Command::Restart | Command::Requeue => Ok(state.restarted(now)),
            Command::Delete => Ok(state.deleted(now)),
        }
    }
}

impl State {
    /// Returns this state if `claim` is the current claim.
    fn claimed_by(&self, claim: u64) -> Result<&Self, Refusal> {
        let is_current = self.status == Status::Executing && self.claim == claim;
        if is_current { Ok(self) } else { Err(Refusal::Stale) }
    }

    /// Returns a copy with the next version.
    fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    pub(super) fn with_event(self, event: EventType) -> Next {
        (self, Some(event))
    }

    /// Returns `now`, or the next tick after the last change if that is later. Events are
    /// ordered by time, and the clocks of processes differ. A larger difference means that a
    /// clock was corrected, and `now` is used.
    fn next_moment(&self, now: Timestamp) -> Timestamp {
        let is_slow = now < self.changed_at && self.changed_at.duration_since(now) < SKEW;
        if is_slow { self.changed_at.saturating_add(TICK).unwrap_or(now) } else { now }
    }

    fn claimed(&self, worker: Arc<str>, now: Timestamp, lease: SignedDuration) -> Next {
        let mut next = self.next();
        next.status = Status::Executing;
        next.claim += 1;
        next.attempt += 1;
        next.progress = 0.0;
        next.worker = Some(worker);
        next.lease_until = Some(now.saturating_add(lease).unwrap_or(Timestamp::MAX));
        next.started_at = Some(now);
        next.ready_at = None;
        next.message = None;
        next.with_event(EventType::Started)
    }

    /// Returns the task to the queue at `ready_at`.
    pub(super) fn awaiting(&self, ready_at: Timestamp) -> Self {
        let mut next = self.next();
        next.status = Status::Awaiting;
        next.lease_until = None;
        next.ready_at = Some(ready_at);
        next
    }

    pub(super) fn ended(&self, status: Status, now: Timestamp) -> Self {
        let mut next = self.next();
        next.status = status;
        next.lease_until = None;
        next.ready_at = None;
        next.cancel_requested = false;
        next.finished_at = Some(now);
        next
    }

    pub(super) fn canceled(&self, message: &str, now: Timestamp) -> Next {
        let mut next = self.ended(Status::Canceled, now);
        next.message = Some(message.to_owned());
        next.with_event(EventType::Canceled)
    }

    /// Returns the final message of a task whose attempt is requested to stop. The message until
    /// then is that of the request.
    pub(super) fn stop_reason(&self) -> &'static str {
        if self.message.as_deref() == Some(TTL_EXCEEDED) {
            TTL_EXCEEDED
        } else {
            "Canceled by its owner"
        }
    }

    /// A requested stop takes precedence over another attempt.
    fn failed(&self, error: TaskError, retry_at: Option<Timestamp>, now: Timestamp) -> Next {
        if self.cancel_requested {
            return self.canceled(self.stop_reason(), now);
        }
        let (mut next, event) = match retry_at {
            Some(at) => (self.awaiting(at), EventType::Retrying),
            None => (self.ended(Status::Failed, now), EventType::Failed),
        };
        next.run_at = retry_at.or(next.run_at);
        next.message = Some(error.message.clone());
        next.error = Some(error);
        next.with_event(event)
    }

    fn cancel(&self, now: Timestamp) -> Decided {
        match self.status {
            Status::Awaiting => Ok(self.canceled("Canceled by its owner", now)),
            Status::Executing if self.cancel_requested => Ok((self.clone(), None)),
            Status::Executing => {
                let mut next = self.next();
                next.cancel_requested = true;
                next.message = Some("Cancel requested by its owner".into());
                Ok(next.with_event(EventType::CancelRequested))
            }
            Status::Finished | Status::Canceled | Status::Failed => Err(Refusal::AlreadyFinished),
        }
    }

    fn restarted(&self, now: Timestamp) -> Next {
        let mut next = self.awaiting(now);
        next.generation += 1;
        next.attempt = 0;
        next.lost_leases = 0;
        next.progress = 0.0;
        next.result = None;
        next.error = None;
        next.message = None;
        next.worker = None;
        next.run_at = None;
        next.started_at = None;
        next.finished_at = None;
        next.cancel_requested = false;
        next.with_event(EventType::Restarted)
    }

    fn deleted(&self, now: Timestamp) -> Next {
        let status = if self.status.is_terminal() { self.status } else { Status::Canceled };
        let mut next = self.ended(status, now);
        next.deleted = true;
        next.with_event(EventType::Deleted)
    }
}
