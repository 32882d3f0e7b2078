//! `GET /api/stats`: counts tasks by status.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::Problem;
use miniapp_types::problem::Code;
use miniapp_types::task::Stats;

use super::response;
use crate::error::store_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[];

/// Task statistics
///
/// Covers the caller's tasks; for admins, all tasks. A key also needs the scope `admin:read` for all.
#[utoipa::path(
    get,
    path = "/api/stats",
    operation_id = "get_stats",
    tag = "platform",
    responses((status = 200, description = "The statistics", body = Stats))
)]
pub(super) async fn stats(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
) -> Result<Response, Problem> {
    let owner = (!principal.reads_all()).then_some(principal.user_id);
    let stats = api.tasks.stats(owner).await.map_err(store_problem)?;
    response::json(256, &stats)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Platform, Token};

    #[tokio::test]
    async fn stats_cover_own_tasks_or_all_for_admins() {
        let platform = Platform::start().await;
        let (user, admin) = (platform.auth.sign_in(), platform.auth.sign_in_as_admin());
        let done = platform.submit(&user).await;
        platform.finish(&user, done).await;
        platform.submit(&admin).await;
        let stats =
            async |token: &Token| platform.get("/api/stats").token(token).send().await.json();
        let of_user = stats(&user).await;
        let by_status =
            json!({"Awaiting": 0, "Executing": 0, "Finished": 1, "Canceled": 0, "Failed": 0});
        assert_eq!((&of_user["byStatus"], &of_user["queueDepth"]), (&by_status, &json!(0)));
        assert_eq!(of_user["finishedPerMinute"], 1);
        let of_all = stats(&admin).await;
        assert_eq!(
            (&of_all["byStatus"]["Awaiting"], &of_all["queueDepth"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(of_all["byStatus"]["Finished"], 1);
        assert_eq!(of_all["oldestWaitSeconds"], 0.0);
    }
}
