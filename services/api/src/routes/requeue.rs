//! `POST /api/dead-letters/{id}/requeue`: restarts a failed task.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use miniapp_http::{Id, Problem};
use miniapp_types::problem::Code;
use miniapp_types::task::Task;

use super::response;
use crate::error::task_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::Forbidden, Code::TaskNotFound, Code::TaskNotFinished];

/// Requeue a dead letter
///
/// Restarts a failed task of any account as a new generation. Requires the role `admin`.
#[utoipa::path(
    post,
    path = "/api/dead-letters/{id}/requeue",
    operation_id = "requeue_dead_letter",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses((status = 200, description = "The task, awaiting a worker", body = Task,
        headers(("ETag", description = "Its version"))))
)]
pub(super) async fn requeue(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    id: Id,
) -> Result<Response, Problem> {
    principal.require_admin()?;
    let id = id.or(Code::TaskNotFound)?;
    let task = api.tasks.requeue(id).await.map_err(task_problem)?;
    tracing::info!(
        task.id = %task.id,
        user.id = %task.owner,
        actor.id = %principal.user_id,
        session.id = principal.credential.session().map(tracing::field::display),
        api_key.id = principal.credential.api_key().map(tracing::field::display),
        "dead letter requeued"
    );
    response::task(StatusCode::OK, &task)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testing::Platform;

    #[tokio::test]
    async fn admin_requeues_failed_tasks() {
        let platform = Platform::start().await;
        let (user, admin) = (platform.auth.sign_in(), platform.auth.sign_in_as_admin());
        let mut failed = Vec::new();
        for _ in 0..3 {
            let id = platform.submit(&user).await;
            platform.fail(&user, id).await;
            failed.push(id);
        }
        let finished = platform.submit(&user).await;
        platform.finish(&user, finished).await;
        let listed = async |query: &str| {
            let path = format!("/api/dead-letters{query}");
            let page = platform.get(&path).token(&admin).send().await.json();
            let count = page["tasks"].as_array().expect("tasks").len();
            (count, page["nextCursor"].clone())
        };
        assert_eq!(listed("").await, (3, Value::Null));
        let (count, next) = listed("?limit=2").await;
        assert_eq!(count, 2);
        let next = format!("?limit=2&cursor={}", next.as_str().expect("a cursor"));
        assert_eq!(listed(&next).await, (1, Value::Null));

        let requeue = async |id| {
            platform.post(&format!("/api/dead-letters/{id}/requeue")).token(&admin).send().await
        };
        let answer = requeue(failed[0]).await;
        let task = answer.json();
        assert_eq!((answer.status(), &task["status"]), (200, &"Awaiting".into()));
        assert_eq!(task["generation"], 2);
        assert_eq!(requeue(failed[0]).await.problem(), (409, "task_not_finished".to_owned()));
        assert_eq!(requeue(finished).await.problem(), (404, "task_not_found".to_owned()));
        assert_eq!(requeue(uuid::Uuid::nil()).await.problem().0, 404);
        assert_eq!(listed("").await.0, 2);
    }
}
