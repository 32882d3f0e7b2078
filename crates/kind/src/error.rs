//! Why an attempt has no result.

use std::borrow::Cow;
use std::time::Duration;

/// Why an attempt has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// Another attempt may succeed.
    #[error("{code}: {message}")]
    Retryable {
        /// A stable `snake_case` name.
        code: Cow<'static, str>,
        /// A description for people.
        message: String,
        /// When the next attempt may start; `None` leaves that to [`Kind::retry`](crate::Kind::retry).
        retry_in: Option<Duration>,
    },
    /// Another attempt would fail as well.
    #[error("{code}: {message}")]
    Permanent {
        /// A stable `snake_case` name.
        code: Cow<'static, str>,
        /// A description for people.
        message: String,
    },
    /// The attempt was stopped.
    #[error("stopped")]
    Stopped,
}

impl KindError {
    /// Creates an error that another attempt may not have.
    pub fn retryable(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Retryable { code: code.into(), message: message.into(), retry_in: None }
    }

    /// Creates an error that every attempt would have.
    pub fn permanent(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Permanent { code: code.into(), message: message.into() }
    }

    /// Creates the permanent error for data that the kind does not accept.
    pub fn invalid_data(message: impl Into<String>) -> Self {
        Self::permanent("invalid_data", message)
    }

    /// Sets when the next attempt may start, if there is one.
    #[must_use]
    pub fn with_retry_in(mut self, delay: Duration) -> Self {
        if let Self::Retryable { retry_in, .. } = &mut self {
            *retry_in = Some(delay);
        }
        self
    }

    /// Returns the code, if the attempt has failed.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Retryable { code, .. } | Self::Permanent { code, .. } => Some(code),
            Self::Stopped => None,
        }
    }
}
