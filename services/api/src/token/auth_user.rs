//! The extractors for authenticated requests.

use std::sync::Arc;

use anyhow::anyhow;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use http::request::Parts;
use miniapp_http::{Client, Problem, bearer};
use miniapp_token::is_api_key;
use miniapp_types::account::{Scope, Secret};

use super::{Principal, TokenVerifier};

/// The scope that a route requires. Its definition puts it into the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequiredScope(pub Scope);

impl RequiredScope {
    /// A route without a scope is a mistake, and allows nothing.
    fn of(parts: &Parts) -> Result<Scope, Problem> {
        let required = parts.extensions.get().map(|Self(scope)| *scope);
        required.ok_or_else(|| Problem::internal(anyhow!("the route requires no scope")))
    }
}

/// Verifies the bearer token of a request, an access token or an API key with the scope that the
/// route requires.
///
/// Only sessions of administrators have the scopes of administrators. A handler checks that with
/// [`Principal::require_admin`] after it has read the query.
#[derive(Clone, Debug)]
pub struct AuthUser(pub Arc<Principal>);

impl<S> FromRequestParts<S> for AuthUser
where
    S: Send + Sync,
    TokenVerifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let verifier = TokenVerifier::from_ref(state);
        let token = bearer(&parts.headers)?;
        let principal = if is_api_key(token) {
            let key = Secret::new(token);
            let Ok(Client { address, .. }) = Client::from_request_parts(parts, state).await;
            verifier.verify_api_key(key.expose(), address).await?
        } else {
            verifier.verify(token).await?
        };
        principal.require_scope(RequiredScope::of(parts)?)?;
        Ok(Self(principal))
    }
}

/// The owner of a token that is valid after the body has arrived, and the body.
///
/// The body may take as long as the client likes, and the token may be revoked meanwhile, or the
/// role removed. So an endpoint with a body extracts both with this type.
#[derive(Clone, Debug)]
pub struct AuthenticatedBody<B> {
    pub principal: Arc<Principal>,
    pub body: B,
}

impl<S, B> FromRequest<S> for AuthenticatedBody<B>
where
    S: Send + Sync,
    TokenVerifier: FromRef<S>,
    B: FromRequest<S, Rejection = Problem> + Send,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let AuthUser(principal) = AuthUser::from_request_parts(&mut parts, state).await?;
        let scope = RequiredScope::of(&parts)?;
        let body = B::from_request(Request::from_parts(parts, body), state).await?;
        let principal = TokenVerifier::from_ref(state).revalidate(&principal).await?;
        principal.require(scope)?;
        Ok(Self { principal, body })
    }
}
