//! Extractors for the access token and the origin of a request.

use std::convert::Infallible;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use miniapp_accounts::{Accounts, Caller, Identity};
use miniapp_http::{Client, Problem, bearer};

use crate::error::ApiError;

/// The account and the session of a valid access token.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedUser(pub Identity);

/// The owner of a token that is valid after the body has arrived, and the body.
///
/// The body may take as long as the client likes, and the token may be revoked meanwhile. So an
/// endpoint with a token and a body extracts both with this type.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedBody<B> {
    pub user: AuthenticatedUser,
    pub body: B,
}

impl<B> FromRequest<Accounts> for AuthenticatedBody<B>
where
    B: FromRequest<Accounts> + Send,
    ApiError: From<B::Rejection>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, accounts: &Accounts) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        AuthenticatedUser::from_request_parts(&mut parts, accounts).await?;
        let request = Request::from_parts(parts.clone(), body);
        let body = B::from_request(request, accounts).await?;
        let user = AuthenticatedUser::from_request_parts(&mut parts, accounts).await?;
        Ok(Self { user, body })
    }
}

impl FromRequestParts<Accounts> for AuthenticatedUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, accounts: &Accounts) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).map_err(Problem::new)?;
        Ok(Self(accounts.authenticate(token).await?))
    }
}

/// The origin of a request, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct ClientInfo(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for ClientInfo {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let Client { address, user_agent } = Client::from_request_parts(parts, state).await?;
        Ok(Self(Caller { ip: address, user_agent }))
    }
}
