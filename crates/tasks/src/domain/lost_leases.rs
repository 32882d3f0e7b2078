//! When lost leases count against a task.
//!
//! A lost lease shows that a worker or its machine is gone, not why. A kernel that runs out of
//! memory, an operator and a suspended machine end workers whose tasks are innocent. So the
//! evidence has to grow: a task that was lost several times runs alone in its process, longer
//! each time, and fails only if it is lost again while nothing else ran beside it.

use jiff::{SignedDuration, Timestamp};
use miniapp_types::task::{EventType, Status, TaskError};

use super::machine::{Next, TTL_EXCEEDED};
use super::task::State;

/// From this many lost leases in one generation on, a task is a suspect: its next attempts
/// start alone in their process.
pub const SUSPECT_AFTER: u32 = 3;
/// From this many lost leases on, a task fails if it ran alone when the last one was lost.
pub const POISON_AFTER: u32 = 6;
/// No task loses more leases than this in one generation, because its last attempts run alone
/// from start to end.
pub const MAX_LOST_LEASES: u32 = 7;

impl State {
    /// Returns how long an attempt has to run alone in its process from its start, or `None`
    /// if it may start beside others.
    pub fn isolation(&self) -> Option<SignedDuration> {
        match self.lost_leases {
            0..SUSPECT_AFTER => None,
            SUSPECT_AFTER => Some(SignedDuration::from_mins(1)),
            4 => Some(SignedDuration::from_mins(10)),
            5 => Some(SignedDuration::from_mins(100)),
            _ => Some(SignedDuration::MAX),
        }
    }

    /// Whether the attempt was alone in its process until it lost its lease.
    fn was_alone(&self) -> bool {
        let Some((start, isolation)) = self.started_at.zip(self.isolation()) else { return false };
        let until = start.saturating_add(isolation).unwrap_or(Timestamp::MAX);
        self.lease_until.is_some_and(|lease_until| lease_until <= until)
    }

    pub(super) fn lease_lost(&self, now: Timestamp) -> Next {
        if self.cancel_requested {
            let message = match self.stop_reason() {
                TTL_EXCEEDED => TTL_EXCEEDED,
                _ => "Canceled by its owner; its worker had vanished",
            };
            return self.canceled(message, now);
        }
        let lost_leases = self.lost_leases + 1;
        let worker = self.worker.as_deref().unwrap_or("unknown");
        if lost_leases >= POISON_AFTER && self.was_alone() {
            let mut next = self.ended(Status::Failed, now);
            let message = format!(
                "Its worker vanished {lost_leases} times, the last time while the task ran alone \
                 on {worker}"
            );
            next.lost_leases = lost_leases;
            next.message = Some(message.clone());
            next.error = Some(TaskError { code: "lease_lost".into(), message });
            return next.with_event(EventType::Failed);
        }
        let mut next = self.awaiting(now);
        next.lost_leases = lost_leases;
        next.message = Some(match next.isolation() {
            None => format!("Its worker {worker} vanished"),
            Some(_) => format!(
                "Its worker {worker} vanished, the {} time; the next attempt starts alone in its \
                 process",
                ordinal(lost_leases)
            ),
        });
        next.with_event(EventType::LeaseLost)
    }
}

/// Returns the ordinal number of a suspect's lost lease.
fn ordinal(number: u32) -> String {
    match number {
        3 => "3rd".to_owned(),
        other => format!("{other}th"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_grows_with_the_evidence_up_to_whole_attempts() {
        let task = crate::domain::Task::new(
            uuid::Uuid::nil(),
            uuid::Uuid::nil(),
            crate::domain::Spec {
                kind: "echo".into(),
                queue: miniapp_types::name::QueueName::default(),
                description: "a task".into(),
                data: serde_json::value::RawValue::NULL.to_owned(),
                ttl: 60,
                max_attempts: 1,
                created_at: Timestamp::UNIX_EPOCH,
                trace: miniapp_types::trace::TraceContext::default(),
            },
            None,
        );
        let isolation = |lost_leases| State { lost_leases, ..task.state.clone() }.isolation();
        assert_eq!(isolation(SUSPECT_AFTER - 1), None);
        for lost in SUSPECT_AFTER..MAX_LOST_LEASES - 1 {
            assert!(isolation(lost) < isolation(lost + 1), "{lost}");
        }
        assert_eq!(isolation(MAX_LOST_LEASES - 1), Some(SignedDuration::MAX));
    }
}
