//! `POST /worker/v1/heartbeats`: renews claims.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::{Body, Problem};
use miniapp_types::problem::Code;
use miniapp_types::worker::{HeartbeatRequest, Heartbeats};

use super::{response, worker_claims};
use crate::error::store_problem;
use crate::state::Api;
use crate::token::AuthenticatedBody;

pub(super) const PROBLEMS: &[Code] = worker_claims::PROBLEMS;

/// Renew claims
///
/// Renews the leases of the listed claims, stores their progress, and returns which attempts have
/// to stop. A claim without a heartbeat for the duration of a lease is lost. After `canceled` or
/// `expired`, the platform ends the task if no outcome comes within 5 seconds.
#[utoipa::path(
    post,
    path = "/worker/v1/heartbeats",
    tag = "worker",
    request_body = HeartbeatRequest,
    responses((status = 200, description = "The claims in the order of the request", body = Heartbeats))
)]
pub(super) async fn renew_claims(
    State(api): State<Api>,
    AuthenticatedBody { body: Body(request), .. }: AuthenticatedBody<Body<HeartbeatRequest>>,
) -> Result<Response, Problem> {
    let claims = api.remote.heartbeat(request.claims).await.map_err(store_problem)?;
    response::json(claims.len() * 128, &Heartbeats { claims })
}
