//! The token of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use miniapp_http::{Problem, bearer};

use super::Principal;
use crate::state::Api;

/// The principal, whose token has been checked.
#[derive(Clone, Debug)]
pub struct AuthUser(pub Arc<Principal>);

impl FromRequestParts<Api> for AuthUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        Ok(Self(api.verifier.verify(token).await?))
    }
}
