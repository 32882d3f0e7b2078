//! [`Facts`]: what an explanation is based on.

use jiff::Timestamp;
use miniapp_tasks::domain::SUSPECT_AFTER;
use miniapp_types::task::{Event, EventType, Task, Worker};

/// A task and what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub task: &'a Task,
    /// The timeline of the task.
    pub events: &'a [Event],
    /// The live workers.
    pub workers: &'a [Worker],
    pub now: Timestamp,
}

impl<'a> Facts<'a> {
    /// Returns the events since the last restart.
    pub fn generation(self) -> &'a [Event] {
        let restart = self.events.iter().rposition(|event| event.kind == EventType::Restarted);
        &self.events[restart.unwrap_or(0)..]
    }

    /// Returns the newest event of `kind` since the last restart.
    pub fn newest(self, kind: EventType) -> Option<&'a Event> {
        self.generation().iter().rev().find(|event| event.kind == kind)
    }

    /// Returns the number of lost leases if the task has become a suspect by them: its attempts
    /// start alone in their process.
    pub fn suspect(self) -> Option<usize> {
        let lost = self.generation().iter().filter(|event| event.kind == EventType::LeaseLost);
        let lost = lost.count();
        (lost >= SUSPECT_AFTER as usize).then_some(lost)
    }

    /// Formats the attempt as `attempt 2 of 3`.
    pub fn attempt(self) -> String {
        format!("attempt {} of {}", self.task.attempt, self.task.max_attempts)
    }

    /// Formats the command that restarts the task.
    pub fn restart_command(self) -> String {
        format!("`miniapp task restart {}`", self.task.task_id)
    }
}
