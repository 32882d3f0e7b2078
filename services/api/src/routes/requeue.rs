//! `POST /api/dead-letters/{id}/requeue`: gives a failed task another chance.

use axum::extract::State;
use axum::response::Response;
use contracts::problem::Code;
use contracts::task::{Status, Task};
use http::StatusCode;
use kit::http::{Id, Problem};
use tasks::Filter;

use super::{fault, shown};
use crate::state::Api;
use crate::token::Authorized;

pub(super) const PROBLEMS: &[Code] = &[Code::Forbidden, Code::TaskNotFound, Code::TaskNotFinished];

/// Requeue a dead letter
///
/// Anybody's failed task awaits a worker again, as a new generation. For admins.
#[utoipa::path(
    post,
    path = "/api/dead-letters/{id}/requeue",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses((status = 200, description = "The task, awaiting a worker", body = Task,
        headers(("ETag", description = "Its version"))))
)]
pub(super) async fn requeue(
    State(api): State<Api>,
    Authorized(caller): Authorized,
    id: Id,
) -> Result<Response, Problem> {
    caller.must_be_admin()?;
    let id = id.or(Code::TaskNotFound)?;
    let filter = Filter { id: Some(id), limit: 1, ..Filter::default() };
    let found = api.tasks.list(&filter).await.map_err(fault::store)?.pop();
    match shown::found(found)?.state.status {
        Status::Failed => {}
        // One that ended well, or by its owner's wish, is no dead letter.
        Status::Finished | Status::Canceled => return Err(Problem::new(Code::TaskNotFound)),
        Status::Awaiting | Status::Executing => return Err(Problem::new(Code::TaskNotFinished)),
    }
    let task = api.tasks.requeue(id).await.map_err(fault::task)?;
    shown::task(StatusCode::OK, &task)
}
