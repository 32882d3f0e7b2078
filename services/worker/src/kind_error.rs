//! Why an attempt has no result, as the code of kinds reports it.

use std::borrow::Cow;

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
        Self::Retryable { code: code.into(), message: message.into() }
    }

    /// Creates an error that every attempt would have.
    pub fn permanent(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Permanent { code: code.into(), message: message.into() }
    }

    /// Creates the permanent error for data that the kind does not accept.
    pub fn invalid_data(message: impl Into<String>) -> Self {
        Self::permanent("invalid_data", message)
    }
}
