//! Documents for generators that read version 3.0 only, such as progenitor.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// Returns a document in version 3.0. It describes the same requests, and of the responses what
/// such generators can express: each operation has one type of success and one of error.
///
/// - Problem documents have the content type `application/json`.
/// - Redirections and `304` are left out, and so are successes without a body beside others.
/// - An event stream beside a JSON document is left out.
pub fn to_version_3_0(openapi: &OpenApi) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(openapi)?;
    document["openapi"] = json!("3.0.3");
    if let Some(license) = document.pointer_mut("/info/license").and_then(Value::as_object_mut) {
        license.remove("identifier");
    }
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations {
        if let Some(responses) = operation["responses"].as_object_mut() {
            simplify(responses);
        }
        // Only schemes of OAuth 2.0 have scopes. The description names them.
        let requirements = operation["security"].as_array_mut().into_iter().flatten();
        let schemes = requirements.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
        schemes.for_each(|scopes| *scopes = json!([]));
    }
    convert(&mut document);
    Ok(document)
}

fn simplify(responses: &mut Map<String, Value>) {
    let has_body = |response: &Value| !response["content"].is_null();
    let is_success = |status: &str| status.starts_with('2');
    let succeeds_with_body =
        responses.iter().any(|(status, response)| is_success(status) && has_body(response));
    responses.retain(|status, response| {
        let is_needed = !is_success(status) || has_body(response) || !succeeds_with_body;
        !status.starts_with('3') && is_needed
    });
    for response in responses.values_mut() {
        let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else {
            continue;
        };
        if let Some(problem) = content.remove(PROBLEM) {
            content.insert(JSON.to_owned(), problem);
        }
        if content.contains_key(JSON) {
            content.retain(|content_type, _| content_type == JSON);
        }
    }
}

/// Converts the schemas in a value.
fn convert(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(convert),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match (name.as_str(), member) {
                    // Examples are no schemas.
                    ("example", _) => {}
                    // The names are those of properties, not of members of a schema.
                    ("properties", Value::Object(properties)) => {
                        properties.values_mut().for_each(convert);
                    }
                    (_, member) => convert(member),
                }
            }
            nullable_type(members);
            nullable_variant(members);
            separate_reference(members);
        }
        _ => {}
    }
}

/// Replaces `"type": ["string", "null"]` by `nullable`.
fn nullable_type(schema: &mut Map<String, Value>) {
    let Some(types) = schema.get("type").and_then(Value::as_array) else { return };
    let [only] = types.iter().filter(|it| **it != "null").collect::<Vec<_>>()[..] else { return };
    let only = only.clone();
    if types.len() > 1 {
        schema.insert("nullable".to_owned(), json!(true));
    }
    schema.insert("type".to_owned(), only);
}

/// Replaces a variant that is null by `nullable`.
fn nullable_variant(schema: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = schema.get_mut("oneOf") else { return };
    let count = variants.len();
    variants.retain(|variant| variant["type"] != "null");
    if variants.len() == count {
        return;
    }
    let is_single = variants.len() == 1;
    schema.insert("nullable".to_owned(), json!(true));
    if is_single && let Some(single) = schema.remove("oneOf") {
        schema.insert("allOf".to_owned(), single);
    }
}

/// A reference has no other members in version 3.0.
fn separate_reference(schema: &mut Map<String, Value>) {
    if schema.len() > 1 && schema.get("$ref").is_some_and(Value::is_string) {
        let reference = schema.remove("$ref");
        schema.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::path::{OperationBuilder, PathsBuilder};
    use utoipa::openapi::security::SecurityRequirement;
    use utoipa::openapi::{HttpMethod, OpenApiBuilder, PathItem};

    use super::*;

    fn converted(mut schema: Value) -> Value {
        convert(&mut schema);
        schema
    }

    #[test]
    fn null_becomes_nullable() {
        let text = json!({ "properties": { "a": { "type": ["string", "null"], "maxLength": 5 } } });
        let nullable = json!({ "properties": { "a": { "type": "string", "nullable": true, "maxLength": 5 } } });
        assert_eq!(converted(text), nullable);
        let reference = json!({ "oneOf": [{ "type": "null" }, { "$ref": "#/a" }] });
        assert_eq!(converted(reference), json!({ "allOf": [{ "$ref": "#/a" }], "nullable": true }));
        let variants = json!({ "oneOf": [{ "$ref": "#/a" }, { "$ref": "#/b" }] });
        assert_eq!(converted(variants.clone()), variants);
        let described = json!({ "$ref": "#/a", "description": "text" });
        assert_eq!(
            converted(described),
            json!({ "allOf": [{ "$ref": "#/a" }], "description": "text" })
        );
    }

    #[test]
    fn examples_stay_as_they_are() {
        let nullable = json!({ "type": ["string", "null"] });
        let schema = json!({ "example": nullable, "properties": { "example": nullable } });
        let property = json!({ "type": "string", "nullable": true });
        let expected = json!({ "example": nullable, "properties": { "example": property } });
        assert_eq!(converted(schema), expected);
    }

    #[test]
    fn security_requirements_have_no_scopes() {
        let requirement = SecurityRequirement::new("bearer", ["tasks:read"]);
        let operation = OperationBuilder::new().security(requirement).build();
        let path = PathItem::new(HttpMethod::Get, operation);
        let paths = PathsBuilder::new().path("/", path).build();
        let document = OpenApiBuilder::new().paths(paths).build();
        let converted = to_version_3_0(&document).expect("a document");
        assert_eq!(converted["paths"]["/"]["get"]["security"], json!([{ "bearer": [] }]));
    }

    #[test]
    fn operations_have_one_type_of_success_and_of_error() {
        let problem = json!({ "content": { PROBLEM: 1 } });
        let mut responses = json!({
            "200": { "content": { JSON: 2, "text/event-stream": 3 } },
            "204": {}, "304": {}, "404": problem,
        });
        simplify(responses.as_object_mut().expect("an object"));
        let expected = json!({
            "200": { "content": { JSON: 2 } },
            "404": { "content": { JSON: 1 } },
        });
        assert_eq!(responses, expected);
        let mut responses = json!({ "204": {}, "404": problem });
        simplify(responses.as_object_mut().expect("an object"));
        assert!(responses["204"].is_object());
    }
}
