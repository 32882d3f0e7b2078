//! The OpenAPI description of the service.

use axum::Extension;
use miniapp_http::openapi::{self, BearerToken};
use miniapp_types::account::Scope;
use miniapp_types::problem::{self, Code};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::state::Api;
use crate::token::RequiredScope;

const BEARER: BearerToken = BearerToken(
    "The `authToken` of a sign-in, or an API key with the scope that the operation names",
);

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
    modifiers(&BEARER),
    tags(
        (name = "tasks", description = "Submit and control tasks"),
        (name = "events", description = "Events of tasks"),
        (name = "platform", description = "Workers, kinds and statistics"),
        (name = "worker", description = "Workers over HTTP"),
        (name = "admin", description = "Requires the role `admin`"),
    )
)]
struct Document;

/// Returns the description without paths.
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}

/// Makes a route require a scope, which [`AuthUser`](crate::token::AuthUser) checks. Describes the
/// scope, the problem responses of the route, and those of the verification of tokens and keys.
pub(crate) fn with_scope(
    routes: UtoipaMethodRouter<Api>,
    scope: Scope,
    codes: &[Code],
) -> UtoipaMethodRouter<Api> {
    let refusals: &[Code] = if scope.requires_admin() {
        &[Code::ScopeMissing, Code::Forbidden, Code::TooManyRequests]
    } else {
        &[Code::ScopeMissing, Code::TooManyRequests]
    };
    let (schemas, mut paths, handlers) =
        openapi::with_problems(routes, &[openapi::TOKEN, refusals, codes]);
    for operation in paths.paths.values_mut().flat_map(openapi::operations) {
        operation.security = Some(vec![SecurityRequirement::new("bearer", [scope.name()])]);
        let description = operation.description.take().unwrap_or_default();
        operation.description = Some(format!("{description}\n\nScope: `{}`", scope.name()));
    }
    (schemas, paths, handlers.route_layer(Extension(RequiredScope(scope))))
}
