//! The description of the service.

use miniapp_http::openapi::{self, BearerToken};
use miniapp_types::problem::{self, Code};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::state::Api;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MiniApp API",
        description = "Background tasks over HTTP, with live events.\n\nEvery error is a \
                       problem document (RFC 9457) with a stable `code`; every answer carries \
                       the id of its trace in `x-trace-id`.",
    ),
    components(schemas(problem::Problem, Code)),
    modifiers(&BearerToken),
    security(("bearer" = [])),
    tags(
        (name = "tasks", description = "Submitting and steering tasks"),
        (name = "events", description = "What happens to tasks"),
        (name = "platform", description = "Who runs what"),
        (name = "admin", description = "For the role `admin`"),
    )
)]
struct Document;

/// The description without its paths.
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}

/// Describes the problems that a route answers with, besides those of every token.
pub(crate) fn with_problems(
    routes: UtoipaMethodRouter<Api>,
    codes: &[Code],
) -> UtoipaMethodRouter<Api> {
    openapi::with_problems(routes, &[codes, openapi::TOKEN])
}
