//! `GET /api/kinds`: what can be run.

use axum::extract::State;
use axum::response::Response;
use contracts::problem::Code;
use contracts::task::Kinds;
use kit::http::Problem;

use super::{fault, shown};
use crate::state::Api;
use crate::token::Authorized;

pub(super) const PROBLEMS: &[Code] = &[];

/// The kinds of tasks
///
/// What the platform's workers can run, with a JSON Schema of each kind's `data`.
#[utoipa::path(
    get,
    path = "/api/kinds",
    tag = "platform",
    responses((status = 200, description = "The kinds by name", body = Kinds))
)]
pub(super) async fn kinds(
    State(api): State<Api>,
    _caller: Authorized,
) -> Result<Response, Problem> {
    let kinds = api.tasks.kinds().await.map_err(fault::store)?;
    shown::json(4096, &Kinds { kinds })
}
