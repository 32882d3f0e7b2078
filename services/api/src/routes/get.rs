//! `GET /api/tasks/{id}`: returns a task.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::ETAG;
use miniapp_http::{Id, Problem};
use miniapp_types::problem::Code;
use miniapp_types::task::Task;

use super::preconditions::IfNoneMatch;
use super::response;
use crate::error::store_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::TaskNotFound];

/// Get a task
///
/// With `If-None-Match`, an unchanged task is not sent again.
#[utoipa::path(
    get,
    path = "/api/tasks/{id}",
    operation_id = "get_task",
    tag = "tasks",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a cached copy"),
    ),
    responses(
        (status = 200, description = "The task", body = Task,
            headers(("ETag", description = "Its version"))),
        (status = 304, description = "Not changed"),
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    id: Id,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let id = id.or(Code::TaskNotFound)?;
    let found = api.tasks.get(principal.user_id, id).await.map_err(store_problem)?;
    let mut task = response::found(found)?;
    let waiting = std::slice::from_mut(&mut task);
    let explained = api.kinds.explain_waits(waiting, api.clock.now(), &api.tasks).await;
    explained.map_err(store_problem)?;
    let etag = response::etag(&task)?;
    if if_none_match.matches(&etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    response::task(StatusCode::OK, &task)
}

#[cfg(test)]
mod tests {
    use crate::testing::Platform;

    #[tokio::test]
    async fn etag_matches_until_the_task_changes() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let id = platform.submit(&token).await;
        let path = format!("/api/tasks/{id}");
        let answer = platform.get(&path).token(&token).send().await;
        let etag = answer.header("etag").to_owned();
        for copies in [&etag, "*", &format!("W/{etag}"), &format!("\"x\", {etag}")] {
            let request = platform.get(&path).token(&token).header("if-none-match", copies);
            let answer = request.send().await;
            assert_eq!((answer.status(), answer.body()), (304, ""), "{copies}");
            assert_eq!(answer.header("etag"), etag);
        }
        platform.finish(&token, id).await;
        let request = platform.get(&path).token(&token).header("if-none-match", &etag);
        let answer = request.send().await;
        assert_eq!(answer.status(), 200);
        assert_ne!(answer.header("etag"), etag);
        let task = answer.json();
        assert_eq!(task["result"], serde_json::json!({"done": true}));
        assert_eq!((&task["status"], &task["worker"]), (&"Finished".into(), &"worker-1".into()));
        assert_eq!(task["progress"], 1.0);
    }
}
