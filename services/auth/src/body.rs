//! Request bodies with new passwords.

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use miniapp_accounts::Accounts;
use miniapp_http::{Problem, read_json};
use miniapp_types::fields::FromFields;

use crate::error::ApiError;
use crate::token::ClientInfo;

/// Like [`miniapp_http::Body`], but validated off the async threads and with limited
/// concurrency: checking a new password is as expensive as hashing it.
pub(crate) struct ValidatedBody<T>(pub T);

impl<T: FromFields + Send + 'static> FromRequest<Accounts> for ValidatedBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, accounts: &Accounts) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let ClientInfo(caller) = ClientInfo::from_request_parts(&mut parts, accounts).await?;
        let body = read_json(Request::from_parts(parts, body)).await?;
        let read = accounts.parse_body(body, &caller).await?;
        Ok(Self(read.map_err(Problem::from)?))
    }
}
