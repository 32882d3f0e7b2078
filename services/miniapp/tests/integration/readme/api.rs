//! The tables of endpoints are generated from the OpenAPI documents.

use std::fmt::Write as _;

use serde_json::Value;

use crate::readme::pages::{Generated, cell, read};

const PAGE: &str = "docs/reference/http.md";

#[test]
fn endpoints_match_the_openapi_documents() {
    for service in ["auth", "api"] {
        let document = read(&format!("services/{service}/openapi.json"));
        let document: Value = serde_json::from_str(&document).expect("JSON");
        let mut table = "| request | what it does | errors |\n|---|---|---|\n".to_owned();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let summary = cell(operation["summary"].as_str().expect("a summary"));
                let codes = codes(operation).join(", ");
                let method = method.to_uppercase();
                writeln!(table, "| `{method} {path}` | {summary} | {codes} |").expect("a text");
            }
        }
        Generated { page: PAGE, name: service }.check(&table);
    }
}

/// The problem codes that are specific to an operation, by status.
fn codes(operation: &Value) -> Vec<String> {
    /// These are described once, above the tables.
    const COMMON: [&str; 12] = [
        "malformed_request",
        "malformed_body",
        "invalid_fields",
        "unsupported_media_type",
        "body_too_large",
        "request_timeout",
        "token_missing",
        "token_invalid",
        "token_expired",
        "token_revoked",
        "unavailable",
        "internal",
    ];
    let mut codes = Vec::new();
    for (status, response) in operation["responses"].as_object().expect("responses") {
        let description = response["description"].as_str().unwrap_or_default();
        let is_problem = status.starts_with(['4', '5']);
        let named = description.split('`').skip(1).step_by(2).filter(|_| is_problem);
        let specific = named.filter(|code| !COMMON.contains(code));
        codes.extend(specific.map(|code| format!("{status} `{code}`")));
    }
    codes
}
