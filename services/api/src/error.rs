//! Problem documents for errors of tasks.

use miniapp_http::Problem;
use miniapp_tasks::{Error, Refusal, StoreError};
use miniapp_types::problem::Code;

/// Returns the problem for a failed operation on a task.
pub(crate) fn task_problem(error: Error) -> Problem {
    match error {
        Error::NotFound => Problem::new(Code::TaskNotFound),
        Error::KeyReused => Problem::new(Code::IdempotencyKeyReused),
        Error::VersionConflict => Problem::new(Code::VersionConflict),
        Error::Refused(refusal) => match refusal {
            // A task that has not failed is not a dead letter.
            Refusal::Deleted | Refusal::NotFailed => Problem::new(Code::TaskNotFound),
            Refusal::NotFinished => Problem::new(Code::TaskNotFinished),
            Refusal::AlreadyFinished => Problem::new(Code::TaskAlreadyFinished),
            // Only commands of workers can be stale.
            Refusal::Stale | Refusal::RunsAlone | Refusal::NotRun => Problem::internal(refusal),
        },
        Error::Store(error) => store_problem(error),
    }
}

/// Returns the problem for a failed query.
pub(crate) fn store_problem(error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => Problem::unavailable(error),
        StoreError::Internal(_) => Problem::internal(error),
    }
}
