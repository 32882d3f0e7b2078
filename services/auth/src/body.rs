//! Request bodies with new passwords.

use axum::extract::{FromRequest, Request};
use miniapp_accounts::Accounts;
use miniapp_http::{Problem, read_json};
use miniapp_types::fields::FromFields;

use crate::error::ApiError;

/// Like [`miniapp_http::Body`], but validated off the async threads and with limited
/// concurrency: checking a new password is as expensive as hashing it.
pub(crate) struct ValidatedBody<T>(pub T);

impl<T: FromFields + Send + 'static> FromRequest<Accounts> for ValidatedBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, accounts: &Accounts) -> Result<Self, ApiError> {
        let body = read_json(request).await?;
        let read = accounts.parse_body(body).await?;
        Ok(Self(read.map_err(Problem::from)?))
    }
}
