//! Why a token is not accepted.

use std::time::Duration;

use miniapp_http::Problem;
use miniapp_token::TokenError;
use miniapp_types::problem::Code;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum VerifyError {
    /// The token is malformed or forged.
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    /// A newer token replaced it, its session ended, or the API key was deleted.
    #[error("the token was revoked")]
    Revoked,
    /// Auth is unreachable.
    #[error("the token can't be verified now")]
    Unavailable,
    /// The client has sent too many unknown API keys. It may send one after this time.
    #[error("too many unknown API keys")]
    RateLimited(Duration),
}

impl VerifyError {
    /// Returns the error for a token or key that auth has rejected.
    pub(super) fn of_rejection(code: Code) -> Self {
        match code {
            Code::TokenRevoked => Self::Revoked,
            Code::TokenExpired => Self::Expired,
            _ => Self::Invalid,
        }
    }
}

impl From<TokenError> for VerifyError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Self::Invalid,
            TokenError::Expired => Self::Expired,
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Invalid => Self::new(Code::TokenInvalid),
            VerifyError::Expired => Self::new(Code::TokenExpired),
            VerifyError::Revoked => Self::new(Code::TokenRevoked),
            VerifyError::Unavailable => Self::new(Code::Unavailable)
                .detail("tokens can't be checked now")
                .retry_after(Duration::from_secs(1)),
            VerifyError::RateLimited(wait) => Self::new(Code::TooManyRequests).retry_after(wait),
        }
    }
}
