//! `PUT /api/tasks/{id}`: restarts a task.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use miniapp_http::{EmptyBody, Id, Problem};
use miniapp_tasks::Command;
use miniapp_types::problem::Code;
use miniapp_types::task::Task;

use super::preconditions::IfMatch;
use super::response;
use crate::error::task_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[
    Code::TaskNotFound,
    Code::TaskNotFinished,
    Code::VersionConflict,
    Code::InvalidFields,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::RequestTimeout,
    Code::TooManyRequests,
];

/// Restart a task
///
/// Restarts a finished task as a new generation. Its events are kept.
#[utoipa::path(
    put,
    path = "/api/tasks/{id}",
    operation_id = "restart_task",
    tag = "tasks",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version to change"),
    ),
    responses((status = 200, description = "The task, awaiting a worker", body = Task,
        headers(("ETag", description = "Its version"))))
)]
pub(super) async fn restart(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    id: Id,
    if_match: IfMatch,
    _: EmptyBody,
) -> Result<Response, Problem> {
    let id = id.or(Code::TaskNotFound)?;
    let changed =
        api.tasks.change(principal.user_id, id, if_match.versions(), Command::Restart).await;
    let task = changed.map_err(task_problem)?;
    response::task(StatusCode::OK, &task)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testing::Platform;

    #[tokio::test]
    async fn only_finished_tasks_are_restarted() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let id = platform.submit(&token).await;
        let path = format!("/api/tasks/{id}");
        let restart =
            async || platform.request(http::Method::PUT, &path).token(&token).send().await;
        assert_eq!(restart().await.problem(), (409, "task_not_finished".to_owned()));
        platform.finish(&token, id).await;
        let answer = restart().await;
        assert_eq!(answer.status(), 200);
        let task = answer.json();
        assert_eq!((&task["status"], &task["generation"]), (&"Awaiting".into(), &2.into()));
        for field in ["result", "error", "runAt", "executionFinishedAt"] {
            assert_eq!(task[field], Value::Null, "{field}");
        }
        assert_eq!(restart().await.problem().0, 409);
    }
}
