//! What clients hear when tasks can't be had or changed.

use miniapp_http::Problem;
use miniapp_tasks::{Error, Refusal, StoreError};
use miniapp_types::problem::Code;

/// The problem of a request about tasks that failed.
pub(crate) fn task(error: Error) -> Problem {
    match error {
        Error::NotFound => Problem::new(Code::TaskNotFound),
        Error::KeyReused => Problem::new(Code::IdempotencyKeyReused),
        Error::Refused(refusal) => match refusal {
            // What didn't fail is no dead letter.
            Refusal::Deleted | Refusal::NotFailed => Problem::new(Code::TaskNotFound),
            Refusal::NotFinished => Problem::new(Code::TaskNotFinished),
            Refusal::AlreadyFinished => Problem::new(Code::TaskAlreadyFinished),
            // Only for commands of workers.
            Refusal::Stale => Problem::internal(refusal),
        },
        Error::Store(error) => store(error),
    }
}

/// The problem of a store that failed.
pub(crate) fn store(error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => Problem::unavailable(error),
        StoreError::Internal(_) => Problem::internal(error),
    }
}
