//! `GET /api/queues`: lists queues with their unfinished tasks.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::Problem;
use miniapp_types::problem::Code;
use miniapp_types::task::Queues;

use super::response;
use crate::error::store_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[];

/// The queues
///
/// Counts the caller's tasks; for admins, all tasks. A key also needs the scope `admin:read` for all.
#[utoipa::path(
    get,
    path = "/api/queues",
    operation_id = "list_queues",
    tag = "platform",
    responses((status = 200, description = "The queues by name", body = Queues))
)]
pub(super) async fn queues(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
) -> Result<Response, Problem> {
    let owner = (!principal.reads_all()).then_some(principal.user_id);
    let queues = api.tasks.queues(owner).await.map_err(store_problem)?;
    response::json(1024, &Queues { queues })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::testing::{Platform, Token};

    #[tokio::test]
    async fn queues_count_own_tasks_or_all_for_admins() {
        let platform = Platform::start().await;
        let (user, admin) = (platform.auth.sign_in(), platform.auth.sign_in_as_admin());
        let listed = async |token: &Token| {
            let answer = platform.get("/api/queues").token(token).send().await;
            answer.json()["queues"].clone()
        };
        let queue = |name: &str, waiting: u32, running: u32, oldest: f64| {
            json!({"name": name, "waiting": waiting, "running": running,
                "oldestWaitSeconds": oldest})
        };
        assert_eq!(listed(&user).await, json!([queue("default", 0, 0, 0.0)]));
        let running = platform.submit(&user).await;
        platform.claim(&user, running).await;
        for run_at in ["2029-01-01T00:00:00Z", "2040-01-01T00:00:00Z"] {
            let body = json!({"description": "d", "data": 1, "ttl": 5, "kind": "echo",
                "queue": "gpu", "runAt": run_at});
            let answer = platform.post("/api/tasks").token(&user).json(&body).send().await;
            assert_eq!(answer.status(), 201);
        }
        platform.submit(&admin).await;
        platform.clock.advance(Duration::from_secs(90));
        let gpu = queue("gpu", 1, 0, 90.0);
        assert_eq!(listed(&user).await, json!([queue("default", 0, 1, 0.0), gpu]));
        assert_eq!(listed(&admin).await, json!([queue("default", 1, 1, 90.0), gpu]));
    }
}
