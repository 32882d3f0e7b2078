//! `DELETE /api/tasks/{id}`: removes a task.

use axum::extract::State;
use contracts::problem::Code;
use http::StatusCode;
use kit::http::{Id, Problem};

use super::fault;
use crate::state::Api;
use crate::token::Authorized;

pub(super) const PROBLEMS: &[Code] = &[Code::TaskNotFound];

/// Delete a task
///
/// A running task is stopped first.
#[utoipa::path(
    delete,
    path = "/api/tasks/{id}",
    tag = "tasks",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Authorized(caller): Authorized,
    id: Id,
) -> Result<StatusCode, Problem> {
    let id = id.or(Code::TaskNotFound)?;
    api.tasks.delete(caller.user_id, id).await.map_err(fault::task)?;
    Ok(StatusCode::NO_CONTENT)
}
