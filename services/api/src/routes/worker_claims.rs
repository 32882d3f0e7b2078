//! `POST /worker/v1/claims`: claims tasks for a worker over HTTP.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use http::header::USER_AGENT;
use miniapp_http::{Body, Problem};
use miniapp_types::account::Scope;
use miniapp_types::problem::Code;
use miniapp_types::worker::{ClaimRequest, ClaimedTask, Claims};

use super::response;
use crate::remote::describe;
use crate::state::Api;
use crate::token::AuthenticatedBody;

pub(super) const PROBLEMS: &[Code] = &[
    Code::MalformedBody,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidFields,
    Code::TooManyRequests,
];

/// Claim tasks
///
/// Waits up to `waitSeconds` for tasks of the given kinds, of any owner, and claims up to `max` of
/// them. The worker and its kinds are listed while it calls. Each claim has to be renewed by
/// heartbeats and ended by an outcome.
#[utoipa::path(
    post,
    path = "/worker/v1/claims",
    tag = "worker",
    request_body = ClaimRequest,
    responses((status = 200, description = "The claimed tasks; empty if none came in time", body = Claims))
)]
pub(super) async fn claim_tasks(
    State(api): State<Api>,
    headers: HeaderMap,
    AuthenticatedBody { principal, body: Body(request) }: AuthenticatedBody<Body<ClaimRequest>>,
) -> Result<Response, Problem> {
    let version =
        headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    let granted = api.remote.claim(request, version).await?;
    // The token may have been revoked during the wait, or the role removed. Then the grant is
    // dropped.
    api.verifier.revalidate(&principal).await?.require(Scope::Worker)?;
    let claims: Vec<ClaimedTask> = match &granted {
        Some(grant) => grant.claims().iter().map(describe).collect(),
        None => Vec::new(),
    };
    let size = claims.iter().map(|claim| claim.data.get().len() + 512).sum();
    let response = response::json(size, &Claims { claims })?;
    if let Some(grant) = granted {
        grant.keep();
    }
    Ok(response)
}
