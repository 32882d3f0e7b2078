//! The extractors for authenticated requests.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use http::request::Parts;
use miniapp_http::{Problem, bearer};

use super::{Principal, TokenVerifier};

/// Verifies the bearer token of a request.
#[derive(Clone, Debug)]
pub struct AuthUser(pub Arc<Principal>);

impl<S> FromRequestParts<S> for AuthUser
where
    S: Send + Sync,
    TokenVerifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        Ok(Self(TokenVerifier::from_ref(state).verify(token).await?))
    }
}

/// The owner of a token that is valid after the body has arrived, and the body.
///
/// The body may take as long as the client likes, and the token may be revoked meanwhile. So an
/// endpoint with a body extracts both with this type.
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
        let body = B::from_request(Request::from_parts(parts, body), state).await?;
        TokenVerifier::from_ref(state).revalidate(&principal).await?;
        Ok(Self { principal, body })
    }
}
