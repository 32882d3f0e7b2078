//! Extractors for the access token and the origin of a request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use miniapp_accounts::{Accounts, Caller, Identity};
use miniapp_http::{Client, Problem, bearer};
use miniapp_types::account::Role;

use crate::error::ApiError;

/// The account and the session of a valid access token.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedUser(pub Identity);

impl AuthenticatedUser {
    pub fn is_admin(&self) -> bool {
        self.0.account.roles.contains(&Role::Admin)
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
