//! Conventions of documents, each of which some generator of clients needs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{PROBLEM, all_references, members, operations};

pub(super) fn faults(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if document["servers"].as_array().is_none_or(Vec::is_empty) {
        faults.push("there are no servers".to_owned());
    }
    let schemas = &document["components"]["schemas"];
    let code = &schemas["Problem"]["properties"]["code"];
    if code["type"] != "string" || !code["enum"].is_null() {
        faults.push("the code of a problem is no open string".to_owned());
    }
    let mut ids = BTreeSet::new();
    let (mut in_requests, mut in_responses) = (BTreeSet::new(), BTreeSet::new());
    for (name, operation) in operations(document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let is_name = !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if !is_name || ["get", "list", "put", "delete", "create", "update"].contains(&id) {
            faults.push(format!("{name}: the operation id {id:?} does not say what it does"));
        }
        if !ids.insert(id) {
            faults.push(format!("{name}: the operation id {id} is used twice"));
        }
        if operation["security"] == json!([{}]) {
            faults.push(format!("{name}: an optional token is a token for generators"));
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let named = format!("{name}: the parameter {}", parameter["name"]);
            if parameter["in"] == "query" {
                let faults_of_schema = faults_of_input(&parameter["schema"]);
                faults.extend(faults_of_schema.map(|it| format!("{named} {it}")));
            }
            if is_nullable(&parameter["schema"]) {
                faults.push(format!("{named} is nullable"));
            }
        }
        for (_, content) in members(&operation["requestBody"]["content"]) {
            in_requests.extend(all_references(document, &content["schema"]));
            faults.extend(faults_of_body(&content["schema"]).map(|it| format!("{name}: {it}")));
        }
        for (status, response) in members(&operation["responses"]) {
            let named = format!("{name} {status}");
            faults.extend(faults_of_response(status, response).map(|it| format!("{named}: {it}")));
            for (_, content) in members(&response["content"]) {
                in_responses.extend(all_references(document, &content["schema"]));
                faults
                    .extend(faults_of_body(&content["schema"]).map(|it| format!("{named}: {it}")));
            }
        }
    }
    for name in &in_requests {
        for (property, schema) in members(&schemas[name]["properties"]) {
            let named = format!("{name}.{property}");
            faults.extend(faults_of_input(schema).map(|it| format!("{named} {it}")));
            if !schema["default"].is_null() {
                faults.push(format!("{named} has a default, which makes it required for some"));
            }
        }
    }
    for name in in_responses.difference(&in_requests) {
        let required = schemas[name]["required"].as_array().cloned().unwrap_or_default();
        for (property, schema) in members(&schemas[name]["properties"]) {
            if is_nullable(schema) && !required.contains(&json!(property)) {
                faults.push(format!("{name}.{property} is both nullable and optional"));
            }
        }
    }
    faults
}

/// Bodies are components, so that generated types have names.
fn faults_of_body(schema: &Value) -> impl Iterator<Item = String> {
    let is_named = schema["$ref"].is_string();
    (!is_named).then(|| format!("the body has no schema with a name: {schema}")).into_iter()
}

fn faults_of_response(status: &str, response: &Value) -> impl Iterator<Item = String> {
    let mut faults = Vec::new();
    let mut needed = vec!["x-trace-id"];
    match status {
        "401" => needed.push("WWW-Authenticate"),
        "429" | "503" => needed.push("Retry-After"),
        _ => {}
    }
    for name in needed {
        if response["headers"][name].is_null() {
            faults.push(format!("the header {name} is not described"));
        }
    }
    for (name, header) in members(&response["headers"]) {
        if !header["schema"]["type"].is_string() {
            faults.push(format!("the header {name} has no type"));
        }
    }
    if status.starts_with(['4', '5']) {
        let expected = json!({ PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        if response["content"] != expected {
            faults.push(format!("the error is not the shared problem: {}", response["content"]));
        }
    }
    faults.into_iter()
}

/// Texts of clients are limited, and say so.
fn faults_of_input(schema: &Value) -> impl Iterator<Item = String> {
    let is_text = schema["type"] == "string" || schema["type"] == json!(["string", "null"]);
    let is_limited = schema["minLength"].is_u64() && schema["maxLength"].is_u64();
    let has_format = ["date", "date-time", "uuid"].iter().any(|it| schema["format"] == **it);
    let is_free = is_text && !is_limited && !has_format && schema["enum"].is_null();
    is_free.then(|| "has no limits of its length".to_owned()).into_iter()
}

fn is_nullable(schema: &Value) -> bool {
    let has_null = |types: &Value| types.as_array().is_some_and(|it| it.contains(&json!("null")));
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    has_null(&schema["type"]) || variants.clone().any(|it| it["type"] == "null")
}
