//! The state machine: every change of a task is a [`Command`] that [`Task::apply`]
//! allows or refuses.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use miniapp_types::task::{EventType, Status, TaskError};
use serde_json::value::RawValue;

use super::{State, Task};

/// How many leases a task may lose before it is taken for poison.
pub const MAX_LOST_LEASES: u32 = 3;
/// The status message of a task that was stopped at its ttl.
pub const TTL_EXCEEDED: &str = "TTL is shorter than the execution time";

/// What is to happen to a task.
///
/// Commands of a worker about a running attempt carry the claim, the fencing token that
/// it got: once the task was claimed again or handed back, they are refused.
#[derive(Clone, Debug)]
pub enum Command {
    /// A worker wants to begin an attempt, told to by a message about `version`.
    Claim {
        /// The generation the message was about.
        generation: u32,
        /// The version the message was about; an older message is refused.
        version: u64,
        /// Who wants it.
        worker: Arc<str>,
        /// How long the claim holds unless it is renewed.
        lease: SignedDuration,
    },
    /// The attempt says how far it is.
    Progress {
        /// The fencing token.
        claim: u64,
        /// From 0 to 1.
        progress: f64,
        /// In words.
        message: Option<String>,
    },
    /// The attempt returned a result.
    Finish {
        /// The fencing token.
        claim: u64,
        /// What it returned.
        result: Arc<RawValue>,
    },
    /// The attempt failed.
    Fail {
        /// The fencing token.
        claim: u64,
        /// Why.
        error: TaskError,
        /// When to try again, where that makes sense.
        retry_in: Option<SignedDuration>,
    },
    /// The attempt was stopped because its owner asked for it.
    ConfirmCancel {
        /// The fencing token.
        claim: u64,
    },
    /// The attempt was stopped because it ran past the ttl.
    ExceedTtl {
        /// The fencing token.
        claim: u64,
    },
    /// The worker shuts down and hands the task back; the attempt isn't counted.
    Release {
        /// The fencing token.
        claim: u64,
    },
    /// The reaper found a lease that ran out at `until` or before.
    ExpireLease {
        /// Now; the end of time where no worker of before can be alive.
        until: Timestamp,
    },
    /// The owner wants the end.
    Cancel,
    /// The owner wants it run again.
    Restart,
    /// An admin gives it another chance, because it failed.
    Requeue,
    /// The owner wants it gone.
    Delete,
}

/// Why a command doesn't apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The message, the claim or the lease it builds on is no longer the newest.
    #[error("the task has moved on")]
    Stale,
    /// The task was removed.
    #[error("the task was removed")]
    Deleted,
    /// Only a task that ended can be restarted.
    #[error("the task has not ended yet")]
    NotFinished,
    /// Only a task that failed can be requeued.
    #[error("the task has not failed")]
    NotFailed,
    /// A task that ended can't be canceled.
    #[error("the task has already ended")]
    AlreadyFinished,
}

/// How finely times are kept.
const TICK: SignedDuration = SignedDuration::from_micros(1);
/// How far the clocks of processes may be apart.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// What a command makes of a task.
#[derive(Clone, Debug)]
pub struct Transition {
    /// When: not before the change before, even where that was said by a clock that is fast.
    pub at: Timestamp,
    /// Where the task stands then.
    pub state: State,
    /// What its timeline says; `None` where nothing changed.
    pub event: Option<EventType>,
}

/// The next state, and its event where anything changed.
type Next = (State, Option<EventType>);
type Decided = Result<Next, Refusal>;

impl Task {
    /// The state after `command` at `now`, or why it is refused.
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
            Command::Claim { generation, version, worker, lease } => {
                if (state.status, state.generation, state.version)
                    != (Status::Awaiting, generation, version)
                {
                    return Err(Refusal::Stale);
                }
                Ok(state.claimed(worker, now, lease))
            }
            Command::Progress { claim, progress, message } => {
                let mut next = state.held(claim)?.next();
                next.progress =
                    if progress.is_nan() { state.progress } else { progress.clamp(0.0, 1.0) };
                next.message = message.or(next.message);
                Ok(next.after(EventType::Progress))
            }
            Command::Finish { claim, result } => {
                let mut next = state.held(claim)?.ended(Status::Finished, now);
                next.progress = 1.0;
                next.result = Some(result);
                next.error = None;
                next.message = None;
                Ok(next.after(EventType::Finished))
            }
            Command::Fail { claim, error, retry_in } => {
                let retry_at = retry_in
                    .filter(|_| {
                        state.attempt.saturating_sub(state.lost_leases) < self.spec.max_attempts
                    })
                    .map(|wait| now.saturating_add(wait).unwrap_or(Timestamp::MAX));
                Ok(state.held(claim)?.failed(error, retry_at, now))
            }
            Command::ConfirmCancel { claim } => {
                let held = state.held(claim)?;
                if !held.cancel_requested {
                    return Err(Refusal::Stale);
                }
                Ok(held.canceled("Canceled by its owner", now))
            }
            Command::ExceedTtl { claim } => Ok(state.held(claim)?.canceled(TTL_EXCEEDED, now)),
            Command::Release { claim } => {
                let held = state.held(claim)?;
                if held.cancel_requested {
                    return Ok(held.canceled("Canceled by its owner", now));
                }
                let mut next = held.awaiting(now);
                next.attempt = next.attempt.saturating_sub(1);
                next.message = Some("Handed back unfinished by its worker".into());
                Ok(next.after(EventType::Released))
            }
            Command::ExpireLease { until } => match state.lease_until {
                Some(lease_until) if lease_until <= until => Ok(state.lease_lost(now)),
                _ => Err(Refusal::Stale),
            },
            Command::Cancel => state.cancel(now),
            Command::Restart | Command::Requeue if !state.status.is_terminal() => {
                Err(Refusal::NotFinished)
            }
            Command::Requeue if state.status != Status::Failed => Err(Refusal::NotFailed),
            Command::Restart | Command::Requeue => Ok(state.restarted(now)),
            Command::Delete => Ok(state.removed(now)),
        }
    }
}

impl State {
    /// This state, if `claim` is the one that holds the task.
    fn held(&self, claim: u64) -> Result<&Self, Refusal> {
        let held = self.status == Status::Executing && self.claim == claim;
        if held { Ok(self) } else { Err(Refusal::Stale) }
    }

    /// A copy of this state to be changed.
    fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    fn after(self, event: EventType) -> Next {
        (self, Some(event))
    }

    /// `now`, but not before the change before: events of a task are told by their time, and
    /// processes have clocks of their own. One that was set back by more is believed.
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
        next.after(EventType::Started)
    }

    /// Free for another claim from `ready_at` on.
    fn awaiting(&self, ready_at: Timestamp) -> Self {
        let mut next = self.next();
        next.status = Status::Awaiting;
        next.lease_until = None;
        next.ready_at = Some(ready_at);
        next
    }

    fn ended(&self, status: Status, now: Timestamp) -> Self {
        let mut next = self.next();
        next.status = status;
        next.lease_until = None;
        next.ready_at = None;
        next.cancel_requested = false;
        next.finished_at = Some(now);
        next
    }

    fn canceled(&self, message: &str, now: Timestamp) -> Next {
        let mut next = self.ended(Status::Canceled, now);
        next.message = Some(message.to_owned());
        next.after(EventType::Canceled)
    }

    /// A cancel that was asked for wins over another attempt: the owner doesn't want one.
    fn failed(&self, error: TaskError, retry_at: Option<Timestamp>, now: Timestamp) -> Next {
        if self.cancel_requested {
            return self.canceled("Canceled by its owner", now);
        }
        let (mut next, event) = match retry_at {
            Some(at) => (self.awaiting(at), EventType::Retrying),
            None => (self.ended(Status::Failed, now), EventType::Failed),
        };
        next.run_at = retry_at.or(next.run_at);
        next.message = Some(error.message.clone());
        next.error = Some(error);
        next.after(event)
    }

    fn lease_lost(&self, now: Timestamp) -> Next {
        if self.cancel_requested {
            return self.canceled("Canceled by its owner; its worker had vanished", now);
        }
        let lost_leases = self.lost_leases + 1;
        let worker = self.worker.as_deref().unwrap_or("unknown");
        if lost_leases >= MAX_LOST_LEASES {
            let mut next = self.ended(Status::Failed, now);
            let message =
                format!("Its worker vanished {lost_leases} times, the last one was {worker}");
            next.lost_leases = lost_leases;
            next.message = Some(message.clone());
            next.error = Some(TaskError { code: "lease_lost".into(), message });
            return next.after(EventType::Failed);
        }
        let mut next = self.awaiting(now);
        next.lost_leases = lost_leases;
        next.message = Some(format!("Its worker {worker} vanished"));
        next.after(EventType::LeaseLost)
    }

    fn cancel(&self, now: Timestamp) -> Decided {
        match self.status {
            Status::Awaiting => Ok(self.canceled("Canceled by its owner", now)),
            Status::Executing if self.cancel_requested => Ok((self.clone(), None)),
            Status::Executing => {
                let mut next = self.next();
                next.cancel_requested = true;
                next.message = Some("Its owner asked for the end".into());
                Ok(next.after(EventType::CancelRequested))
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
        next.after(EventType::Restarted)
    }

    fn removed(&self, now: Timestamp) -> Next {
        let status = if self.status.is_terminal() { self.status } else { Status::Canceled };
        let mut next = self.ended(status, now);
        next.deleted = true;
        next.after(EventType::Deleted)
    }
}
