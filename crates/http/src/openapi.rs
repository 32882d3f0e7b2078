//! What the descriptions of all services have in common.

use std::collections::BTreeMap;

use miniapp_types::problem::Code;
use serde_json::json;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, Response, ResponseBuilder};
use utoipa_axum::router::UtoipaMethodRouter;

/// What a body may be answered.
pub const BODY: &[Code] = &[
    Code::MalformedBody,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidFields,
];

/// What a bearer token may be answered.
pub const TOKEN: &[Code] =
    &[Code::TokenMissing, Code::TokenInvalid, Code::TokenExpired, Code::TokenRevoked];

/// What any request may be answered.
const ALWAYS: &[Code] = &[Code::Unavailable, Code::Internal];

/// Adds the bearer token to a description, under the name `bearer`.
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

/// Describes the problems that a route answers with, besides those that all do.
pub fn with_problems<S>(routes: UtoipaMethodRouter<S>, codes: &[&[Code]]) -> UtoipaMethodRouter<S> {
    let codes = codes.iter().chain([&ALWAYS]).copied().flatten();
    with_problems_at(routes, codes.map(|code| (code.status(), *code)))
}

/// Describes problems whose status isn't always that of their code. Responses that are
/// described for such a status already are replaced.
pub fn with_problems_at<S>(
    (schemas, mut paths, router): UtoipaMethodRouter<S>,
    problems: impl IntoIterator<Item = (u16, Code)>,
) -> UtoipaMethodRouter<S> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for (status, code) in problems {
        by_status.entry(status).or_default().push(code);
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

fn described(codes: &[Code]) -> Response {
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
