//! Errors of the database, classified by what helps.

use sqlx::Error;

/// Why a statement failed. The message is for operators.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file is busy or its disk is full. Retrying later may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The statement does not match the schema, or the data cannot be decoded.
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
