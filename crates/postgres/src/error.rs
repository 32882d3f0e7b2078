//! What can go wrong with a database, sorted by what helps.

use sqlx::Error;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;

/// Why a statement gave no answer. The text is for those who run the platform; it names
/// the server, never a password and nothing that was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server can't be reached, or the connection broke: the statement may have been
    /// done or not.
    #[error("{0}")]
    ConnectionLost(String),
    /// Somebody else was in the way and the server gave up on this transaction. It left
    /// nothing; at once again is right.
    #[error("{0}")]
    Conflict(String),
    /// The server doesn't do it now: it is full, or took too long. It left nothing; later
    /// again is right.
    #[error("{0}")]
    Unavailable(String),
    /// It is a standby, or was set to only read.
    #[error("the database only reads; is it a standby?")]
    ReadOnly,
    /// It would break the constraint of this name.
    #[error("the constraint {0} is violated")]
    ConstraintViolation(String),
    /// Statement and schema don't fit.
    #[error("{0}")]
    Internal(String),
}

impl DatabaseError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::ConstraintViolation(_) | Self::Internal(_))
    }

    /// Whether the connection that it came from can be used again.
    pub(crate) fn keeps_connection(&self) -> bool {
        // A primary that turned standby won't become one again: another connection may lead
        // to its successor.
        !matches!(self, Self::ConnectionLost(_) | Self::ReadOnly)
    }
}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => of_server(error),
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
            // Io, Tls, Protocol: whatever was under way, its answer won't come.
            error => Self::ConnectionLost(error.to_string()),
        }
    }
}

impl From<MigrateError> for DatabaseError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => error.into(),
            MigrateError::ExecuteMigration(error, version) => match error.into() {
                Self::Internal(text) => Self::Internal(format!("migration {version}: {text}")),
                other => other,
            },
            error => Self::Internal(error.to_string()),
        }
    }
}

/// Sorts by SQLSTATE.
fn of_server(error: &PgDatabaseError) -> DatabaseError {
    let text = error.message().to_owned();
    match error.code() {
        "40001" | "40P01" => DatabaseError::Conflict(text),
        "25006" => DatabaseError::ReadOnly,
        "55P03" => DatabaseError::Unavailable(format!("somebody else holds a lock: {text}")),
        "57014" => DatabaseError::Unavailable(format!("the database took too long: {text}")),
        "23505" | "23503" | "23514" | "23P01" => {
            DatabaseError::ConstraintViolation(error.constraint().unwrap_or_default().to_owned())
        }
        // Shut down, crashed, starting; broken connections.
        "57P01" | "57P02" | "57P03" => DatabaseError::ConnectionLost(text),
        code => match &code[..2.min(code.len())] {
            "08" => DatabaseError::ConnectionLost(text),
            // Who we are (28), which database (3D), out of connections, disk or memory
            // (53, 54), not in this state (55), stopped by a person (57), a broken disk
            // (58): someone can mend it without us.
            "28" | "3D" | "53" | "54" | "55" | "57" | "58" => DatabaseError::Unavailable(text),
            _ => DatabaseError::Internal(format!("{text} ({code})")),
        },
    }
}
