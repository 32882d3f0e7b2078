//! The endpoints, one per file.

mod cancel;
mod dead_letters;
mod delete;
mod events;
mod feed;
mod get;
mod idempotency;
mod kinds;
mod list;
mod page;
mod preconditions;
mod queues;
mod requeue;
mod response;
mod restart;
mod stats;
mod stream_headers;
mod submission;
mod submit;
#[cfg(test)]
mod tests;
mod worker_claims;
mod worker_heartbeats;
mod worker_outcomes;
mod workers;

use miniapp_http::openapi::complete;
use miniapp_types::account::Scope::{AdminRead, AdminWrite, TasksRead, TasksWrite, Worker};
use miniapp_types::limits;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::{self, with_scope};
use crate::state::Api;

/// Returns the routes with their OpenAPI description.
pub(crate) fn router() -> OpenApiRouter<Api> {
    let mut router = OpenApiRouter::with_openapi(openapi::document())
        .routes(with_scope(routes!(submit::submit), TasksWrite, submit::PROBLEMS))
        .routes(with_scope(routes!(list::list), TasksRead, list::PROBLEMS))
        .routes(with_scope(routes!(get::get), TasksRead, get::PROBLEMS))
        .routes(with_scope(routes!(restart::restart), TasksWrite, restart::PROBLEMS))
        .routes(with_scope(routes!(cancel::cancel), TasksWrite, cancel::PROBLEMS))
        .routes(with_scope(routes!(delete::delete), TasksWrite, delete::PROBLEMS))
        .routes(with_scope(routes!(events::events), TasksRead, events::PROBLEMS))
        .routes(with_scope(routes!(feed::feed), TasksRead, feed::PROBLEMS))
        .routes(with_scope(routes!(kinds::kinds), TasksRead, kinds::PROBLEMS))
        .routes(with_scope(routes!(workers::workers), TasksRead, workers::PROBLEMS))
        .routes(with_scope(routes!(queues::queues), TasksRead, queues::PROBLEMS))
        .routes(with_scope(routes!(stats::stats), TasksRead, stats::PROBLEMS))
        .routes(with_scope(routes!(dead_letters::dead_letters), AdminRead, dead_letters::PROBLEMS))
        .routes(with_scope(routes!(requeue::requeue), AdminWrite, requeue::PROBLEMS))
        .routes(with_scope(routes!(worker_claims::claim_tasks), Worker, worker_claims::PROBLEMS))
        .routes(with_scope(
            routes!(worker_heartbeats::renew_claims),
            Worker,
            worker_heartbeats::PROBLEMS,
        ))
        .routes(with_scope(
            routes!(worker_outcomes::end_attempts),
            Worker,
            worker_outcomes::PROBLEMS,
        ));
    limits::describe(router.get_openapi_mut());
    complete(router.get_openapi_mut());
    router
}
