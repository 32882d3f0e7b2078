//! Common parts of the OpenAPI documents.

mod version_3_0;

use std::collections::{BTreeMap, BTreeSet};

use miniapp_types::problem::Code;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;
use utoipa::Modify;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{Array, Object, ObjectBuilder, OneOf, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::UtoipaMethodRouter;

pub use self::version_3_0::to_version_3_0;

use crate::X_TRACE_ID;

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

/// Adds the security scheme `bearer` with a description of the tokens.
#[derive(Clone, Copy, Debug)]
pub struct BearerToken(pub &'static str);

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some(self.0)).build();
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

/// Returns the operations of a path.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// All problems have one schema, so that generated clients have one type for them. The codes are in
/// the description and in an extension, for people and tests.
fn problem_response(codes: &[Code]) -> Response {
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{code}`: {}", code.title())).collect();
    let schema = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(lines.join("\n\n"))
        .content("application/problem+json", content)
        .extensions(Some(Extensions::from_iter([(PROBLEM_CODES, json!(codes))])))
        .build()
}

/// The extension of a response with the codes of its problems.
const PROBLEM_CODES: &str = "x-problem-codes";
/// The extension of a schema with the values that are known now. There may be others later.
const KNOWN_VALUES: &str = "x-extensible-enum";

/// Completes a document after its routes were added: what all responses have in common, and what
/// attributes cannot express.
pub fn complete(openapi: &mut OpenApi) {
    for operation in openapi.paths.paths.values_mut().flat_map(operations) {
        // An empty requirement means that a token is optional, and generators ask for one.
        if operation.security.as_deref() == Some(&[SecurityRequirement::default()]) {
            operation.security = Some(Vec::new());
        }
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
            {
                not_null(schema);
            }
        }
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response {
                add_headers(status, response);
            }
        }
    }
    let in_requests = schemas_of(openapi, |operation| json!(operation.request_body));
    let in_responses = schemas_of(openapi, |operation| json!(operation.responses));
    let Some(components) = &mut openapi.components else { return };
    for name in in_responses.difference(&in_requests) {
        if let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(name) {
            require_nullable(schema);
        }
    }
    if let Some(RefOr::T(Schema::Object(problem))) = components.schemas.get_mut("Problem")
        && let Some(RefOr::T(Schema::Object(code))) = problem.properties.get_mut("code")
    {
        let known = Code::iter().map(|code| json!(code)).collect::<Vec<_>>();
        code.extensions = Some(Extensions::from_iter([(KNOWN_VALUES, json!(known))]));
    }
}

/// A parameter is absent, not null.
fn not_null(schema: &mut Object) {
    if let SchemaType::Array(types) = &mut schema.schema_type {
        types.retain(|it| *it != Type::Null);
        if let [only] = types.as_slice() {
            schema.schema_type = SchemaType::Type(only.clone());
        }
    }
}

fn add_headers(status: &str, response: &mut Response) {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let mut add = |name: &str, schema: ObjectBuilder, description: &str| {
        let header = HeaderBuilder::new().schema(Some(schema.build()));
        let header = header.description(Some(description)).build();
        response.headers.insert(name.to_owned(), header.into());
    };
    let trace_id = text().pattern(Some("^[0-9a-f]{32}$"));
    add(X_TRACE_ID.as_str(), trace_id, "The trace of the request");
    match status {
        "401" => {
            add("WWW-Authenticate", text(), "`Bearer`, with an `error` if a token was rejected");
        }
        "429" | "503" => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
            add("Retry-After", seconds, "Seconds until the request may succeed");
        }
        _ => {}
    }
}

/// In responses, what may be null is always present, and what may be absent is never null.
fn require_nullable(schema: &mut Object) {
    for (name, property) in &schema.properties {
        if is_nullable(property) && !schema.required.contains(name) {
            schema.required.push(name.clone());
        }
    }
}

fn is_nullable(schema: &RefOr<Schema>) -> bool {
    match schema {
        RefOr::T(
            Schema::Object(Object { schema_type, .. }) | Schema::Array(Array { schema_type, .. }),
        ) => is_null(schema_type),
        RefOr::T(Schema::OneOf(OneOf { items, .. })) => items.iter().any(is_nullable),
        _ => false,
    }
}

/// Whether null is a value of the type.
fn is_null(schema_type: &SchemaType) -> bool {
    match schema_type {
        SchemaType::Type(one) => *one == Type::Null,
        SchemaType::Array(types) => types.contains(&Type::Null),
        SchemaType::AnyValue => true,
    }
}

/// Returns the names of the component schemas in a part of each operation.
fn schemas_of(openapi: &OpenApi, part: impl Fn(&Operation) -> Value) -> BTreeSet<String> {
    let paths = openapi.paths.paths.values();
    let operations = paths
        .flat_map(|item| [&item.get, &item.put, &item.post, &item.delete].into_iter().flatten());
    let (mut found, mut open) = (BTreeSet::new(), operations.map(part).collect::<Vec<_>>());
    while let Some(value) = open.pop() {
        for name in references(&value) {
            let schema = openapi.components.as_ref().and_then(|it| it.schemas.get(&name));
            if found.insert(name) {
                open.push(json!(schema));
            }
        }
    }
    found
}

/// Returns the names of the component schemas that a value refers to.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|path| path.strip_prefix("#/components/schemas/"));
            let inner = members.values().flat_map(references);
            own.map(str::to_owned).into_iter().chain(inner).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
