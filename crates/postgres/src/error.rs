//! Errors of the database, classified by what helps.

use sqlx::Error;
use sqlx::postgres::PgDatabaseError;

/// Why a statement failed. The message is for operators: it may name the server, but never
/// contains credentials or stored data.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server is unreachable or the connection broke. The statement may have been
    /// executed.
    #[error("{0}")]
    ConnectionLost(String),
    /// A serialization failure or deadlock. The transaction was rolled back and can be
    /// repeated immediately.
    #[error("{0}")]
    Conflict(String),
    /// The server has no free connection.
    #[error("{0}")]
    NoConnection(String),
    /// The server refused the statement for now, for example because it is full or the
    /// statement took too long. Nothing was changed; retrying later may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The server is a standby or its transactions are read-only.
    #[error("the database is read-only; is it a standby?")]
    ReadOnly,
    /// The named constraint was violated.
    #[error("the constraint {0} is violated")]
    ConstraintViolation(String),
    /// The statement does not match the schema, or the data cannot be decoded.
    #[error("{0}")]
    Internal(String),
}

impl DatabaseError {
    /// Returns `true` if retrying may succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::ConstraintViolation(_) | Self::Internal(_))
    }

    /// Returns `true` if the connection is still usable.
    pub(crate) fn keeps_connection(&self) -> bool {
        // After a failover, a new connection may reach the new primary.
        !matches!(self, Self::ConnectionLost(_) | Self::ReadOnly)
    }
}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => classify(error),
                None => Self::Internal(error.to_string()),
            },
            Error::ColumnDecode { .. }
            | Error::Decode(_)
            | Error::Encode(_)
            | Error::ColumnNotFound(_)
            | Error::ColumnIndexOutOfBounds { .. }
            | Error::Configuration(_)
            | Error::InvalidArgument(_)
            | Error::RowNotFound
            | Error::TypeNotFound { .. } => Self::Internal(error.to_string()),
            // Io, Tls, Protocol: the response of a running statement is lost.
            error => Self::ConnectionLost(error.to_string()),
        }
    }
}

/// Classifies by SQLSTATE.
fn classify(error: &PgDatabaseError) -> DatabaseError {
    let text = error.message().to_owned();
    match error.code() {
        "40001" | "40P01" => DatabaseError::Conflict(text),
        "25006" => DatabaseError::ReadOnly,
        "55P03" => DatabaseError::Unavailable(format!("another client holds a lock: {text}")),
        "57014" => DatabaseError::Unavailable(format!("the database took too long: {text}")),
        "23505" | "23503" | "23514" | "23P01" => {
            DatabaseError::ConstraintViolation(error.constraint().unwrap_or_default().to_owned())
        }
        // Shutting down, crashed, starting.
        "57P01" | "57P02" | "57P03" => DatabaseError::ConnectionLost(text),
        "53300" => DatabaseError::NoConnection(text),
        // An operator grants the right.
        "42501" => DatabaseError::Unavailable(text),
        code => match &code[..2.min(code.len())] {
            "08" => DatabaseError::ConnectionLost(text),
            // Authorization (28), database name (3D), resources and limits (53, 54), object
            // state (55), operator intervention (57), system errors (58): an operator can
            // fix these without a change of this program.
            "28" | "3D" | "53" | "54" | "55" | "57" | "58" => DatabaseError::Unavailable(text),
            _ => DatabaseError::Internal(format!("{text} ({code})")),
        },
    }
}
