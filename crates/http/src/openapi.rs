//! Common parts of the OpenAPI documents.

use std::collections::BTreeMap;

use miniapp_types::problem::Code;
use serde_json::json;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, Response, ResponseBuilder};
use utoipa_axum::router::UtoipaMethodRouter;

/// Problems of requests with a body.
pub const BODY: &[Code] = &[
    Code::MalformedBody,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidFields,
    Code::TooManyRequests,
];

/// Problems of requests with a bearer token.
pub const TOKEN: &[Code] =
    &[Code::TokenMissing, Code::TokenInvalid, Code::TokenExpired, Code::TokenRevoked];

/// Problems of any request.
const ALWAYS: &[Code] = &[Code::Unavailable, Code::Internal];

/// Adds the security scheme `bearer`.
#[derive(Clone, Copy, Debug)]
pub struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
        let scheme = scheme.description(Some("The `authToken` of a sign-in")).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Describes the problems of a route, and those of every route.
pub fn with_problems<S>(routes: UtoipaMethodRouter<S>, codes: &[&[Code]]) -> UtoipaMethodRouter<S> {
    let codes = codes.iter().chain([&ALWAYS]).copied().flatten();
    with_problems_at(routes, codes.map(|code| (code.status(), *code)))
}

/// Describes problems whose status may differ from that of their code. Replaces responses that
/// are described for the same status.
pub fn with_problems_at<S>(
    (schemas, mut paths, router): UtoipaMethodRouter<S>,
    problems: impl IntoIterator<Item = (u16, Code)>,
) -> UtoipaMethodRouter<S> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for (status, code) in problems {
        let codes = by_status.entry(status).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    for operation in paths.paths.values_mut().flat_map(operations) {
        for (status, codes) in &by_status {
            let response = problem_response(codes);
            operation.responses.responses.insert(status.to_string(), response.into());
        }
    }
    (schemas, paths, router)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

fn problem_response(codes: &[Code]) -> Response {
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
