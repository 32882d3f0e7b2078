//! What can go wrong, in the domain's words.

use std::time::Duration;

use miniapp_token::TokenError;
use miniapp_types::problem::{Code, FieldError};

use crate::password::Busy;
use crate::store::StoreError;

/// Why something wasn't done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error("{}", .0.title())]
    Refused(Code),
    /// A field breaks a rule that takes more than the body to check.
    #[error("some fields are not acceptable")]
    InvalidFields(Vec<FieldError>),
    /// It was tried too often.
    #[error("too often; again in {retry_after:?}")]
    TooOften {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// Too many passwords are being checked.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The database didn't do as told.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of ours.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// The code of a refusal; `None` for what isn't the caller's doing.
    pub fn refusal(&self) -> Option<Code> {
        match self {
            Self::Refused(code) => Some(*code),
            Self::InvalidFields(_) => Some(Code::InvalidFields),
            Self::TooOften { .. } => Some(Code::TooManyRequests),
            Self::Busy(_) | Self::Store(_) | Self::Internal(_) => None,
        }
    }

    /// One field that breaks a rule.
    pub(crate) fn invalid_field(field: &str, message: &str) -> Self {
        let (field, message) = (field.to_owned(), message.to_owned());
        Self::InvalidFields(vec![FieldError { field, message }])
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::Refused(code)
    }
}

impl From<TokenError> for Error {
    fn from(fault: TokenError) -> Self {
        Self::Refused(fault.into())
    }
}
