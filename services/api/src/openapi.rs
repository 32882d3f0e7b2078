//! The description of the service.

use std::collections::BTreeMap;

use contracts::problem::{self, Code};
use serde_json::json;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::state::Api;

/// What any request may be answered that needs a token.
const ALWAYS: [Code; 6] = [
    Code::TokenMissing,
    Code::TokenInvalid,
    Code::TokenExpired,
    Code::TokenRevoked,
    Code::Unavailable,
    Code::Internal,
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MiniApp API",
        description = "Background tasks over HTTP, with live events.\n\nEvery error is a problem document (RFC 9457) with a stable `code`; every answer carries the id of its trace in `x-trace-id`.",
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

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
        let scheme = scheme.description(Some("The `authToken` of a sign-in")).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The description without its paths.
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}

/// Describes the problems that a route answers with, besides those that all do.
pub(crate) fn with_problems(
    (schemas, mut paths, router): UtoipaMethodRouter<Api>,
    codes: &[Code],
) -> UtoipaMethodRouter<Api> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes.iter().chain(&ALWAYS) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    for operation in paths.paths.values_mut().flat_map(operations) {
        for (status, codes) in &by_status {
            let response = described(codes);
            operation.responses.responses.insert(status.to_string(), response.into());
        }
    }
    (schemas, paths, router)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

fn described(codes: &[Code]) -> utoipa::openapi::Response {
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{code}`: {}", code.title())).collect();
    let code = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes.iter().map(|code| json!(code))));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("code", code));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(lines.join("\n\n"))
        .content("application/problem+json", content)
        .build()
}
