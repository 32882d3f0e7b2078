//! `OpenAPI` documents: whether they follow the conventions that generators of clients rely on, and
//! whether real answers agree with them.

mod conventions;

use std::collections::{BTreeSet, HashMap};

use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];
const PROBLEM: &str = "application/problem+json";

/// The document of a service.
#[derive(Debug)]
pub struct Document {
    root: Value,
    /// Schemas by the name of their component. Those of responses are closed: a field that is not
    /// described is an error.
    validators: Mutex<HashMap<String, &'static Validator>>,
    components: Value,
}

/// An answer of a service.
#[derive(Clone, Copy, Debug)]
pub struct RealAnswer<'a> {
    pub status: u16,
    /// In any case.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

impl Document {
    pub fn new(document: Value) -> Self {
        let components = closed(&document["components"]);
        Self { root: document, validators: Mutex::default(), components }
    }

    pub fn value(&self) -> &Value {
        &self.root
    }

    /// Returns what breaks the conventions.
    pub fn faults(&self) -> Vec<String> {
        conventions::faults(&self.root)
    }

    /// Returns what the document says otherwise about an answer. A path or method without a
    /// description has none.
    pub fn differences(&self, method: &str, path: &str, answer: RealAnswer<'_>) -> Vec<String> {
        let Some(operation) = self.operation(method, path) else { return Vec::new() };
        let response = &operation["responses"][answer.status.to_string()];
        if response.is_null() {
            return vec![format!("the status {} is not described", answer.status)];
        }
        let mut differences = Vec::new();
        let header = |name: &str| {
            let found = answer.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name));
            found.map(|(_, value)| *value)
        };
        for (name, described) in members(&response["headers"]) {
            match header(name) {
                None => differences.push(format!("the header {name} is missing")),
                Some(value) if described["schema"]["type"] == "integer" => {
                    if value.parse::<u64>().is_err() {
                        differences.push(format!("the header {name} is no number: {value}"));
                    }
                }
                Some(_) => {}
            }
        }
        let content_type = header("content-type").unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let schema = &response["content"][content_type]["schema"];
        if response["content"].is_null() {
            if !answer.body.is_empty() {
                differences.push(format!("a body is not described: {}", answer.body));
            }
        } else if schema.is_null() {
            differences.push(format!("the content type {content_type:?} is not described"));
        } else if content_type == "text/event-stream" {
            let lines = answer.body.lines().filter_map(|line| line.strip_prefix("data:"));
            differences.extend(lines.flat_map(|line| self.faults_of(schema, line)));
        } else {
            differences.extend(self.faults_of(schema, answer.body));
        }
        if content_type == PROBLEM {
            let problem: Value = serde_json::from_str(answer.body).unwrap_or_default();
            let codes = response["x-problem-codes"].as_array();
            if !codes.is_some_and(|codes| codes.contains(&problem["code"])) {
                differences.push(format!("the code {} is not described", problem["code"]));
            }
        }
        differences
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let fits = |template: &str| {
            let segments = template.split('/').zip(path.split('/'));
            template.split('/').count() == path.split('/').count()
                && segments.into_iter().all(|(one, other)| one == other || one.starts_with('{'))
        };
        // `/users/me` goes before `/users/{id}`.
        let mut paths: Vec<_> = members(&self.root["paths"]).collect();
        paths.sort_by_key(|(template, _)| template.contains('{'));
        let (_, item) = paths.into_iter().find(|(template, _)| fits(template))?;
        item.get(method.to_lowercase())
    }

    fn faults_of(&self, schema: &Value, body: &str) -> Vec<String> {
        let body: Value = match serde_json::from_str(body) {
            Ok(body) => body,
            Err(error) => return vec![format!("not JSON: {error}: {body}")],
        };
        let errors = self.validator(schema).iter_errors(&body);
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn validator(&self, schema: &Value) -> &'static Validator {
        self.validators.lock().entry(schema.to_string()).or_insert_with(|| {
            let mut root = json!({ "components": self.components });
            for (name, value) in members(schema) {
                root[name] = value.clone();
            }
            let validator = jsonschema::options().should_validate_formats(true).build(&root);
            // Once for each schema of a test program.
            Box::leak(Box::new(validator.expect("a schema")))
        })
    }
}

/// Closes every object of the components, except for those that others extend.
fn closed(components: &Value) -> Value {
    let mut components = components.clone();
    let extended: BTreeSet<String> = extended(&components).into_iter().collect();
    if let Some(schemas) = components["schemas"].as_object_mut() {
        for (name, schema) in schemas {
            if !extended.contains(name)
                && schema["properties"].is_object()
                && schema["additionalProperties"].is_null()
            {
                schema["additionalProperties"] = json!(false);
            }
        }
    }
    components
}

/// Returns the components that occur in an `allOf`.
fn extended(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, member) in members(value) {
        if name == "allOf" {
            let parts = member.as_array().into_iter().flatten();
            let names = parts.filter_map(|part| part["$ref"].as_str()?.rsplit('/').next());
            found.extend(names.map(str::to_owned));
        }
        found.extend(extended(member));
    }
    found
}

/// Returns the names of the components that a schema refers to, also through others.
fn all_references(document: &Value, schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        if let Some(name) = value["$ref"].as_str().and_then(|path| path.rsplit('/').next())
            && found.insert(name.to_owned())
        {
            open.push(&document["components"]["schemas"][name]);
        }
        open.extend(value.as_object().into_iter().flat_map(Map::values));
        open.extend(value.as_array().into_iter().flatten());
    }
    found
}

/// Returns the members of an object, and none of another value.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Returns the operations of a document with their names.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    members(&document["paths"]).flat_map(|(path, item)| {
        members(item).filter(|(method, _)| METHODS.contains(&method.as_str())).map(
            move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document::new(json!({
            "paths": { "/a/{id}": { "get": { "responses": {
                "200": {
                    "headers": { "ETag": { "schema": { "type": "string" } } },
                    "content": {
                        "application/json": { "schema": { "$ref": "#/components/schemas/A" } },
                        "text/event-stream": { "schema": { "$ref": "#/components/schemas/A" } },
                    },
                },
                "404": {
                    "headers": { "Retry-After": { "schema": { "type": "integer" } } },
                    "content": { PROBLEM: { "schema": {} } },
                    "x-problem-codes": ["task_not_found"],
                },
                "204": {},
            } } } },
            "components": { "schemas": { "A": {
                "type": "object",
                "properties": {
                    "at": { "type": "string", "format": "date-time" },
                    "b": { "$ref": "#/components/schemas/B" },
                },
                "required": ["at"],
            }, "B": { "type": ["string", "null"] } } },
        }))
    }

    #[track_caller]
    fn differs(status: u16, content_type: &str, body: &str, expected: &[&str]) {
        let etag = if status == 200 { ("etag", "\"1\"") } else { ("retry-after", "5") };
        let headers = [("content-type", content_type), etag];
        let answer = RealAnswer { status, headers: &headers, body };
        let found = document().differences("GET", "/a/7", answer);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn answers_are_compared_with_their_description() {
        let json = "application/json";
        let good = r#"{"at":"2030-01-01T00:00:00Z","b":null}"#;
        differs(200, "application/json; charset=utf-8", good, &[]);
        differs(200, json, r#"{"at":"yesterday"}"#, &["date-time"]);
        differs(200, json, r#"{"b":"x"}"#, &["required"]);
        differs(200, json, r#"{"at":"2030-01-01T00:00:00Z","c":1}"#, &["'c'"]);
        differs(200, "text/plain", "x", &["text/plain"]);
        differs(200, "text/event-stream", &format!("id: 1\ndata: {good}\n\ndata: 7\n\n"), &["7"]);
        differs(404, PROBLEM, r#"{"code":"task_not_found"}"#, &[]);
        differs(404, PROBLEM, r#"{"code":"not_found"}"#, &["not_found"]);
        differs(204, "", "", &[]);
        differs(204, "", "x", &["a body"]);
        differs(500, json, "{}", &["500"]);
    }

    #[test]
    fn headers_are_part_of_the_description() {
        let answer = RealAnswer { status: 404, headers: &[("content-type", PROBLEM)], body: "{}" };
        let found = document().differences("GET", "/a/7", answer);
        assert!(found[0].contains("Retry-After is missing"), "{found:?}");
        assert!(document().differences("POST", "/a/7", answer).is_empty());
        assert!(document().differences("GET", "/b", answer).is_empty());
    }
}
