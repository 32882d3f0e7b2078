//! `GET /api/workers`: lists the live workers.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::Problem;
use miniapp_types::problem::Code;
use miniapp_types::task::Workers;

use super::response;
use crate::error::store_problem;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[];

/// The live workers
///
/// Returns the workers that have reported recently.
#[utoipa::path(
    get,
    path = "/api/workers",
    operation_id = "list_workers",
    tag = "platform",
    responses((status = 200, description = "The workers by name", body = Workers))
)]
pub(super) async fn workers(
    State(api): State<Api>,
    _caller: AuthUser,
) -> Result<Response, Problem> {
    let workers = api.tasks.workers().await.map_err(store_problem)?;
    response::json(1024, &Workers { workers })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use miniapp_runtime::clock::Clock as _;
    use miniapp_tasks::engine::WorkerReport;
    use miniapp_types::task::Worker;

    use crate::testing::Platform;

    #[tokio::test]
    async fn workers_are_those_that_reported_recently() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let worker = Worker {
            name: "w".into(),
            version: "1".into(),
            kinds: vec!["echo".into()],
            queues: Vec::new(),
            running: 1,
            capacity: 2,
            started_at: platform.clock.now(),
            last_seen_at: platform.clock.now(),
        };
        let report = WorkerReport {
            worker: worker.clone(),
            schemas: BTreeMap::new(),
            has_kind_queues: false,
            is_remote: false,
        };
        platform.tasks.report_worker(&report).await.expect("reported");
        let listed = async || platform.get("/api/workers").token(&token).send().await.json();
        let shown = serde_json::to_value(&worker).expect("JSON");
        assert_eq!(listed().await["workers"], serde_json::json!([shown]));
        platform.clock.advance(Duration::from_mins(1));
        assert_eq!(listed().await["workers"], serde_json::json!([]));
    }
}
