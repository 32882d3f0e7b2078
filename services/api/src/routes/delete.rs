//! `DELETE /api/tasks/{id}`: deletes a task.

use axum::extract::State;
use http::StatusCode;
use miniapp_http::{Id, Problem};
use miniapp_tasks::Command;
use miniapp_types::problem::Code;

use super::preconditions::IfMatch;
use crate::error::task_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::TaskNotFound, Code::VersionConflict];

/// Delete a task
///
/// Stops a running task first.
#[utoipa::path(
    delete,
    path = "/api/tasks/{id}",
    operation_id = "delete_task",
    tag = "tasks",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version to change"),
    ),
    responses((status = 204, description = "Deleted"))
)]
pub(super) async fn delete(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    id: Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let id = id.or(Code::TaskNotFound)?;
    let changed =
        api.tasks.change(principal.user_id, id, if_match.versions(), Command::Delete).await;
    changed.map_err(task_problem)?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use crate::testing::Platform;

    #[tokio::test]
    async fn deleted_task_is_not_found() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let id = platform.submit(&token).await;
        let path = format!("/api/tasks/{id}");
        let delete = async || platform.request(Method::DELETE, &path).token(&token).send().await;
        let answer = delete().await;
        assert_eq!((answer.status(), answer.body()), (204, ""));
        assert_eq!(delete().await.problem(), (404, "task_not_found".to_owned()));
        assert_eq!(platform.get(&path).token(&token).send().await.problem().0, 404);
        let list = platform.get("/api/tasks").token(&token).send().await.json();
        assert_eq!(list["tasks"], serde_json::json!([]));
    }
}
