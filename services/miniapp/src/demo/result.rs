//! [`CaseResult`]: how a task of the demo ended.

use miniapp_types::task::Task;

use super::cases::Case;

/// A task that has ended.
pub struct CaseResult {
    pub case: Case,
    pub task: Task,
}

impl CaseResult {
    pub fn is_as_expected(&self) -> bool {
        self.task.status == self.case.expected_status
            && self.task.attempt == self.case.expected_attempts
    }
}
