//! The OpenAPI description of the service.

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
                       problem document (RFC 9457) with a stable `code`; every response carries \
                       its trace id in `x-trace-id`.",
    ),
    servers(
        (url = "/", description = "The service that has this document"),
        (url = "http://127.0.0.1:8000", description = "A platform on this machine"),
    ),
    components(schemas(problem::Problem)),
    modifiers(&BearerToken),
    security(("bearer" = [])),
    tags(
        (name = "tasks", description = "Submit and control tasks"),
        (name = "events", description = "Events of tasks"),
        (name = "platform", description = "Workers, kinds and statistics"),
        (name = "admin", description = "Requires the role `admin`"),
    )
)]
struct Document;

/// Returns the description without paths.
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}

/// Adds the problem responses of a route, and those of token verification.
pub(crate) fn with_problems(
    routes: UtoipaMethodRouter<Api>,
    codes: &[Code],
) -> UtoipaMethodRouter<Api> {
    openapi::with_problems(routes, &[codes, openapi::TOKEN])
}
