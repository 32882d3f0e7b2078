//! Errors of [`crate::Tasks`].

use crate::domain::Refusal;
use crate::engine::StoreError;

/// Why a task cannot be returned or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The task does not exist or belongs to another owner.
    #[error("no such task")]
    NotFound,
    /// The idempotency key was used before with a different body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// The task has another version than the caller expects.
    #[error("the task has another version")]
    VersionConflict,
    /// The task's state does not allow the change.
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Returns the value of the span attribute `error.type`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::KeyReused => "key_reused",
            Self::VersionConflict => "version_conflict",
            Self::Refused(_) => "refused",
            Self::Store(_) => "store",
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Deleted => Self::NotFound,
            other => Self::Refused(other),
        }
    }
}
