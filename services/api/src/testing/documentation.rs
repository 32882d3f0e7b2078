//! The OpenAPI description, which every test compares with real answers.

use std::sync::LazyLock;

use http::Method;
use miniapp_test_support::openapi::{Document, RealAnswer};
use serde_json::Value;

use super::Answer;

static DOCUMENT: LazyLock<Document> =
    LazyLock::new(|| Document::new(serde_json::to_value(crate::openapi()).expect("JSON")));

/// A method and a documented path, with `{id}` in it.
pub(crate) type Operation = (Method, String);

pub(crate) fn document() -> &'static Value {
    DOCUMENT.value()
}

pub(crate) fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, methods) in document()["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.clone()));
        }
    }
    assert_eq!(operations.len(), 17);
    operations
}

/// Checks a message of a stream against the description of the events.
pub(crate) fn assert_event(message: &str) {
    let headers = [("content-type", "text/event-stream"), ("x-trace-id", "")];
    let answer = RealAnswer { status: 200, headers: &headers, body: message };
    let differences = DOCUMENT.differences("GET", "/api/events", answer);
    assert!(differences.is_empty(), "{message}: {differences:#?}");
}

/// Checks an answer against the description of its operation. Every test request does.
pub(crate) fn assert_documented(method: &Method, path: &str, answer: &Answer) {
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str()));
    let headers: Vec<_> = headers.filter_map(|(name, value)| Some((name, value.ok()?))).collect();
    let answer = RealAnswer { status: answer.status(), headers: &headers, body: answer.body() };
    let differences = DOCUMENT.differences(method.as_str(), path, answer);
    assert!(differences.is_empty(), "{method} {path}: {differences:#?}");
}
