//! The extractor for authenticated requests.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
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
