//! `GET /api/kinds`: lists the kinds that workers run.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::Problem;
use miniapp_types::problem::Code;
use miniapp_types::task::Kinds;

use super::response;
use crate::error::store_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[];

/// The kinds of tasks
///
/// Returns the kinds that the workers run, with a JSON Schema of each kind's `data`.
#[utoipa::path(
    get,
    path = "/api/kinds",
    operation_id = "list_kinds",
    tag = "platform",
    responses((status = 200, description = "The kinds by name", body = Kinds))
)]
pub(super) async fn kinds(State(api): State<Api>, _caller: AuthUser) -> Result<Response, Problem> {
    let kinds = api.tasks.kinds().await.map_err(store_problem)?;
    response::json(4096, &Kinds { kinds })
}

#[cfg(test)]
mod tests {
    use crate::testing::Platform;

    #[tokio::test]
    async fn kinds_are_those_announced_by_workers() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        platform.announce("echo").await;
        let kinds = platform.get("/api/kinds").token(&token).send().await.json();
        let echo = serde_json::json!({"name": "echo", "description": "d", "dataSchema": {}, "example": null, "queue": "default"});
        assert_eq!(kinds["kinds"], serde_json::json!([echo]));
    }
}
