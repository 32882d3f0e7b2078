//! JSON Schemas of the data of kinds.

use std::collections::HashSet;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use miniapp_types::problem::FieldError;
use serde_json::Value;
use serde_json::value::RawValue;

/// The number of errors that are reported.
const MAX_ERRORS: usize = 20;
/// In characters: messages quote the schema, paths have names that a client made up.
const MAX_TEXT: usize = 200;

#[derive(Debug)]
pub(crate) struct DataSchema {
    document: Value,
    validator: Validator,
}

impl DataSchema {
    /// Compiles a schema. Returns `None` for one that cannot be used: it is invalid, refers to
    /// other documents, or has a pattern that might take exponential time.
    pub fn new(kind: &str, document: Value) -> Option<Self> {
        let patterns = PatternOptions::regex();
        let built = jsonschema::options().with_pattern_options(patterns).build(&document);
        match built {
            Ok(validator) => Some(Self { document, validator }),
            Err(error) => {
                let error = error.masked().to_string();
                tracing::warn!(kind, error, "data is not validated: the schema can't be used");
                None
            }
        }
    }

    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Returns the first error of each invalid part of `data`, with paths such as `data.rounds`.
    pub fn errors(&self, data: &RawValue) -> Vec<FieldError> {
        // Errors of the JSON itself are found when the body is read.
        let Ok(value) = serde_json::from_str::<Value>(data.get()) else { return Vec::new() };
        let errors = self.validator.iter_errors(&value).flat_map(|error| describe(&error, &value));
        let mut fields = HashSet::new();
        errors.filter(|error| fields.insert(error.field.clone())).take(MAX_ERRORS).collect()
    }
}

/// Returns a missing or unexpected member by its own path, not that of its object.
fn describe(error: &ValidationError<'_>, data: &Value) -> Vec<FieldError> {
    let path = path(error, data);
    let member = |name: &str, message: &str| field_error(&format!("{path}.{name}"), message);
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            vec![member(property.as_str().unwrap_or_default(), "is required")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().map(|name| member(name, "is not expected")).collect()
        }
        _ => {
            let message = error.masked().to_string();
            vec![field_error(&path, message.strip_prefix("value ").unwrap_or(&message))]
        }
    }
}

fn path(error: &ValidationError<'_>, data: &Value) -> String {
    let mut path = "data".to_owned();
    let mut pointer = String::new();
    for segment in error.instance_path().as_str().split('/').skip(1) {
        let is_item = data.pointer(&pointer).is_some_and(Value::is_array);
        let name = segment.replace("~1", "/").replace("~0", "~");
        if is_item {
            path.extend(["[", &name, "]"]);
        } else {
            path.extend([".", &name]);
        }
        pointer.push('/');
        pointer.push_str(segment);
    }
    path
}

fn field_error(field: &str, message: &str) -> FieldError {
    let shortened = |text: &str| text.chars().take(MAX_TEXT).collect();
    FieldError { field: shortened(field), message: shortened(message) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(schema: Value, data: &str) -> Vec<(String, String)> {
        let schema = DataSchema::new("k", schema).expect("a schema");
        let data = RawValue::from_string(data.to_owned()).expect("JSON");
        let errors = schema.errors(&data).into_iter();
        errors.map(|error| (error.field, error.message)).collect()
    }

    fn fields(schema: Value, data: &str) -> Vec<String> {
        errors(schema, data).into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn each_part_has_one_error() {
        let method = json!({ "type": "string", "enum": ["GET"] });
        let schema = json!({ "properties": { "method": method } });
        assert_eq!(fields(schema, r#"{"method":7}"#), ["data.method"]);
    }

    #[test]
    fn errors_have_paths() {
        let schema = || {
            json!({
                "type": "object",
                "required": ["rounds"],
                "additionalProperties": false,
                "properties": {
                    "rounds": { "type": "integer", "minimum": 1 },
                    "items": { "items": { "properties": { "1": { "type": "string" } } } },
                },
            })
        };
        for (data, expected) in [
            (r#"{"rounds":1.0}"#, &[][..]),
            (r#"{"rounds":"many"}"#, &["data.rounds"]),
            (r#"{"rounds":0,"x":1,"y":2}"#, &["data.x", "data.y", "data.rounds"]),
            ("{}", &["data.rounds"]),
            ("[]", &["data"]),
            (r#"{"rounds":1,"items":[{},{"1":2}]}"#, &["data.items[1].1"]),
        ] {
            let mut fields = fields(schema(), data);
            let mut expected = expected.to_vec();
            fields.sort_unstable();
            expected.sort_unstable();
            assert_eq!(fields, expected, "{data}");
        }
        let message = &errors(schema(), r#"{"rounds":"many"}"#)[0].1;
        assert_eq!(message, "is not of type \"integer\"");
    }

    #[test]
    fn errors_are_bounded() {
        let schema = json!({ "items": { "type": "string" } });
        assert_eq!(fields(schema, &format!("[{}1]", "1,".repeat(1000))).len(), MAX_ERRORS);
        let long = "n".repeat(100_000);
        let found = errors(
            json!({ "additionalProperties": false, "properties": { "a": {} } }),
            &format!("{{\"{long}\":1}}"),
        );
        assert_eq!(found[0].0.len(), MAX_TEXT);
        let found = errors(json!({ "type": "integer" }), &format!("\"{long}\""));
        assert!(found[0].1.len() < MAX_TEXT, "{found:?}");
    }

    #[test]
    fn unusable_schemas_are_skipped() {
        for schema in [
            json!({ "type": "nonsense" }),
            json!({ "$ref": "http://127.0.0.1:1/schema.json" }),
            json!({ "$ref": "file:///etc/passwd" }),
            json!({ "pattern": "(a+)+$(?=x)" }),
            json!(7),
        ] {
            assert!(DataSchema::new("k", schema.clone()).is_none(), "{schema}");
        }
    }
}
