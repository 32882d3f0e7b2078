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
mod requeue;
mod response;
mod restart;
mod stats;
mod stream_headers;
mod submission;
mod submit;
#[cfg(test)]
mod tests;
mod workers;

use miniapp_http::openapi::complete;
use miniapp_types::limits;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::{self, with_problems};
use crate::state::Api;

/// Returns the routes with their OpenAPI description.
pub(crate) fn router() -> OpenApiRouter<Api> {
    let mut router = OpenApiRouter::with_openapi(openapi::document())
        .routes(with_problems(routes!(submit::submit), submit::PROBLEMS))
        .routes(with_problems(routes!(list::list), list::PROBLEMS))
        .routes(with_problems(routes!(get::get), get::PROBLEMS))
        .routes(with_problems(routes!(restart::restart), restart::PROBLEMS))
        .routes(with_problems(routes!(cancel::cancel), cancel::PROBLEMS))
        .routes(with_problems(routes!(delete::delete), delete::PROBLEMS))
        .routes(with_problems(routes!(events::events), events::PROBLEMS))
        .routes(with_problems(routes!(feed::feed), feed::PROBLEMS))
        .routes(with_problems(routes!(kinds::kinds), kinds::PROBLEMS))
        .routes(with_problems(routes!(workers::workers), workers::PROBLEMS))
        .routes(with_problems(routes!(stats::stats), stats::PROBLEMS))
        .routes(with_problems(routes!(dead_letters::dead_letters), dead_letters::PROBLEMS))
        .routes(with_problems(routes!(requeue::requeue), requeue::PROBLEMS));
    limits::describe(router.get_openapi_mut());
    complete(router.get_openapi_mut());
    router
}
