//! `POST /api/tasks/{id}/cancel`: cancels a task.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use miniapp_http::{Id, Problem};
use miniapp_tasks::Command;
use miniapp_types::problem::Code;
use miniapp_types::task::Task;

use super::preconditions::IfMatch;
use super::response;
use crate::error::task_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] =
    &[Code::TaskNotFound, Code::TaskAlreadyFinished, Code::VersionConflict];

/// Cancel a task
///
/// Cancels a waiting task immediately, and a running one as soon as its worker has stopped
/// it. If the task ends before that, its own outcome is kept.
#[utoipa::path(
    post,
    path = "/api/tasks/{id}/cancel",
    operation_id = "cancel_task",
    tag = "tasks",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version to change"),
    ),
    responses((status = 202, description = "The task, canceled or with a pending cancellation", body = Task,
        headers(("ETag", description = "Its version"))))
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    id: Id,
    if_match: IfMatch,
) -> Result<Response, Problem> {
    let id = id.or(Code::TaskNotFound)?;
    let changed =
        api.tasks.change(principal.user_id, id, if_match.versions(), Command::Cancel).await;
    let task = changed.map_err(task_problem)?;
    response::task(StatusCode::ACCEPTED, &task)
}

#[cfg(test)]
mod tests {
    use crate::testing::Platform;

    #[tokio::test]
    async fn task_is_canceled_once() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let (waiting, running) = (platform.submit(&token).await, platform.submit(&token).await);
        let claim = platform.claim(&token, running).await;
        let cancel =
            async |id| platform.post(&format!("/api/tasks/{id}/cancel")).token(&token).send().await;
        let answer = cancel(waiting).await;
        assert_eq!((answer.status(), &answer.json()["status"]), (202, &"Canceled".into()));
        assert_eq!(cancel(waiting).await.problem(), (409, "task_already_finished".to_owned()));
        for _ in 0..2 {
            let answer = cancel(running).await;
            assert_eq!((answer.status(), &answer.json()["status"]), (202, &"Executing".into()));
        }
        platform.tasks.confirm_cancel(claim).await.expect("canceled");
        assert_eq!(cancel(running).await.problem().0, 409);
    }
}
