//! `POST /api/tasks/{id}/cancel`: ends a task.

use axum::extract::State;
use axum::response::Response;
use contracts::problem::Code;
use contracts::task::Task;
use http::StatusCode;
use kit::http::{Id, Problem};

use super::{fault, shown};
use crate::state::Api;
use crate::token::Authorized;

pub(super) const PROBLEMS: &[Code] = &[Code::TaskNotFound, Code::TaskAlreadyFinished];

/// Cancel a task
///
/// A waiting task is canceled at once, a running one as soon as its worker has stopped it.
/// Should it end by itself before that, its own outcome counts.
#[utoipa::path(
    post,
    path = "/api/tasks/{id}/cancel",
    tag = "tasks",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses((status = 202, description = "The task, canceled or about to be", body = Task,
        headers(("ETag", description = "Its version"))))
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Authorized(caller): Authorized,
    id: Id,
) -> Result<Response, Problem> {
    let id = id.or(Code::TaskNotFound)?;
    let task = api.tasks.cancel(caller.user_id, id).await.map_err(fault::task)?;
    shown::task(StatusCode::ACCEPTED, &task)
}
