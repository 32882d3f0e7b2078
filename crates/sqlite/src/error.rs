//! What can go wrong with a file, sorted by what helps.

use sqlx::Error;

/// Why a statement gave no answer. The text is for those who run the platform.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file can't be used now: it is busy, its disk is full. Later again is right.
    #[error("{0}")]
    Unavailable(String),
    /// Statement and schema don't fit.
    #[error("{0}")]
    Internal(String),
}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        match error {
            Error::ColumnDecode { .. }
            | Error::Decode(_)
            | Error::ColumnNotFound(_)
            | Error::Configuration(_)
            | Error::TypeNotFound { .. } => Self::Internal(error.to_string()),
            Error::Database(ref fault)
                if fault.is_unique_violation()
                    || fault.is_foreign_key_violation()
                    || fault.is_check_violation() =>
            {
                Self::Internal(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
