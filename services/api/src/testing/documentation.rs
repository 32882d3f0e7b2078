//! The problems that the OpenAPI description documents.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::Method;
use serde_json::Value;

use super::Answer;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(crate::openapi()).expect("JSON"));

/// A method and a documented path, with `{id}` in it.
pub(crate) type Operation = (Method, String);

pub(crate) fn document() -> &'static Value {
    &DOCUMENT
}

pub(crate) fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, methods) in DOCUMENT["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.clone()));
        }
    }
    assert_eq!(operations.len(), 13);
    operations
}

/// Checks that a problem is documented for its operation. Every test request does, so that
/// the `PROBLEMS` of an endpoint cannot omit what a test sees.
pub(crate) fn assert_documented(method: &Method, path: &str, answer: &Answer) {
    if !answer.is_problem() {
        return;
    }
    let operations = operations();
    let Some(operation) = operations.iter().find(|(one, documented)| {
        one == method && documented.split('/').count() == path.split('/').count() && {
            let mut segments = documented.split('/').zip(path.split('/'));
            segments.all(|(documented, segment)| documented == "{id}" || documented == segment)
        }
    }) else {
        return;
    };
    let problem = answer.problem();
    assert!(documented_problems(operation).contains(&problem), "{operation:?}: {problem:?}");
}

fn documented_problems((method, path): &Operation) -> BTreeSet<(u16, String)> {
    let responses = &DOCUMENT["paths"][path][method.as_str().to_lowercase()]["responses"];
    let mut codes = BTreeSet::new();
    for (status, response) in responses.as_object().expect("responses") {
        let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
        let Some(names) = schema["properties"]["code"]["enum"].as_array() else { continue };
        for name in names {
            let name = name.as_str().expect("a name").to_owned();
            codes.insert((status.parse().expect("a status"), name));
        }
    }
    codes
}
