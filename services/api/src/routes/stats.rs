//! `GET /api/stats`: how many tasks stand where.

use axum::extract::State;
use axum::response::Response;
use contracts::problem::Code;
use contracts::task::Stats;
use kit::http::Problem;

use super::{fault, shown};
use crate::state::Api;
use crate::token::Authorized;

pub(super) const PROBLEMS: &[Code] = &[];

/// Numbers about tasks
///
/// About the caller's own; an admin's are about all.
#[utoipa::path(
    get,
    path = "/api/stats",
    tag = "platform",
    responses((status = 200, description = "The numbers", body = Stats))
)]
pub(super) async fn stats(
    State(api): State<Api>,
    Authorized(caller): Authorized,
) -> Result<Response, Problem> {
    let owner = (!caller.is_admin).then_some(caller.user_id);
    let stats = api.tasks.stats(owner).await.map_err(fault::store)?;
    shown::json(256, &stats)
}
