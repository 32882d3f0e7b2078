//! `GET /api/workers`: who runs tasks.

use axum::extract::State;
use axum::response::Response;
use contracts::problem::Code;
use contracts::task::Workers;
use kit::http::Problem;

use super::{fault, shown};
use crate::state::Api;
use crate::token::Authorized;

pub(super) const PROBLEMS: &[Code] = &[];

/// The live workers
///
/// Those that reported within the last seconds.
#[utoipa::path(
    get,
    path = "/api/workers",
    tag = "platform",
    responses((status = 200, description = "The workers by name", body = Workers))
)]
pub(super) async fn workers(
    State(api): State<Api>,
    _caller: Authorized,
) -> Result<Response, Problem> {
    let workers = api.tasks.workers().await.map_err(fault::store)?;
    shown::json(1024, &Workers { workers })
}
