//! The token of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use miniapp_http::{Problem, bearer};

use super::Caller;
use crate::state::Api;

/// The caller, whose token has been checked.
#[derive(Clone, Debug)]
pub struct Authorized(pub Arc<Caller>);

impl FromRequestParts<Api> for Authorized {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        Ok(Self(api.check.check(token).await?))
    }
}
