//! Errors of the service.

use std::time::Duration;

use miniapp_token::TokenError;
use miniapp_types::problem::{Code, FieldError};

use crate::password::Busy;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule rejects the request.
    #[error("{}", .0.title())]
    Rejected(Code),
    /// A field breaks a rule that can't be checked on the body alone.
    #[error("some fields are not acceptable")]
    InvalidFields(Vec<FieldError>),
    #[error("too many attempts; retry after {retry_after:?}")]
    TooManyAttempts { retry_after: Duration },
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// Returns the code of a rejection, and `None` for a failure of the service.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rejected(code) => Some(*code),
            Self::InvalidFields(_) => Some(Code::InvalidFields),
            Self::TooManyAttempts { .. } => Some(Code::TooManyRequests),
            Self::Busy(_) | Self::Store(_) | Self::Internal(_) => None,
        }
    }

    /// An error of one field.
    pub(crate) fn invalid_field(field: &str, message: &str) -> Self {
        let (field, message) = (field.to_owned(), message.to_owned());
        Self::InvalidFields(vec![FieldError { field, message }])
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::Rejected(code)
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        Self::Rejected(error.into())
    }
}
