use serde_json::json;

use super::*;
use crate::task::SubmitTask;

fn errors_of(body: Value) -> Vec<(String, String)> {
    match SubmitTask::from_body(body) {
        Err(BodyError::Fields(faults)) => {
            faults.into_iter().map(|fault| (fault.field, fault.message)).collect()
        }
        other => panic!("expected field faults, got {other:?}"),
    }
}

#[test]
fn valid_body_is_read() {
    let body = json!({"description": "d", "data": null, "ttl": 5, "kind": null});
    let task = SubmitTask::from_body(body).expect("readable");
    assert_eq!((task.ttl, task.kind, task.data.get()), (5, None, "null"));
}

#[test]
fn every_error_is_reported_at_once() {
    let found = errors_of(json!({"description": "", "ttl": 1e30, "maxAttempts": "3", "x": 1}));
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["description", "data", "ttl", "maxAttempts", "x"]);
}

#[test]
fn body_must_be_an_object() {
    assert_eq!(SubmitTask::from_body(json!([1])).err(), Some(BodyError::NotAnObject));
}

fn written(text: &str) -> Result<SubmitTask, BodyError> {
    SubmitTask::from_body(serde_json::from_str::<JsonBody>(text).expect("JSON"))
}

#[test]
fn integer_accepts_any_notation() {
    let ttl = |ttl: &str| written(&format!(r#"{{"description":"d","data":1,"ttl":{ttl}}}"#));
    for text in ["5", "5.0", "5e0", "50e-1", "0.5E+1"] {
        assert_eq!(ttl(text).expect(text).ttl, 5, "{text}");
    }
    for text in ["5.5", "-5", "1e999", "-1e999", "1e-999", "99999999999999999999", "\"5\"", "[5]"] {
        let Err(BodyError::Fields(faults)) = ttl(text) else { panic!("{text}") };
        assert_eq!(faults.len(), 1, "{text}");
        assert_eq!(faults[0].field, "ttl", "{text}");
    }
}

#[test]
fn json_is_kept_as_written() {
    let own = r#"{"z":18446744073709551617,"a":[-0,1.50,1E2],"z":"\u00e9"}"#;
    let task = written(&format!(r#"{{"description":"d","ttl":1,"data": {own} }}"#));
    assert_eq!(task.expect("readable").data.get(), own);
    let spaced = "{ \"a\" : [ 1, 2 ] }";
    let task = written(&format!(r#"{{"description":"d","ttl":1,"data":{spaced}}}"#));
    assert_eq!(task.expect("readable").data.get(), r#"{"a":[1,2]}"#);
}

#[test]
fn unparsable_value_is_an_error_of_its_field() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for data in [deep.as_str(), "1e999", r#""\ud800""#] {
        let body = format!(r#"{{"description":{data},"ttl":1,"data":{data},"runAt":{data}}}"#);
        let Err(BodyError::Fields(faults)) = written(&body) else { panic!("{data:.20}") };
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["description", "data", "runAt"], "{data:.20}");
    }
}

#[test]
fn duplicate_field_is_an_error() {
    let body = r#"{"ttl":1,"description":"d","data":1,"ttl":2,"x":1,"x":1}"#;
    let Err(BodyError::Fields(faults)) = written(body) else { panic!("readable") };
    let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["ttl", "x", "x"]);
}

#[derive(Debug)]
struct Page(Option<u32>, Option<String>);

impl FromFields for Page {
    fn read(fields: &mut Fields) -> Option<Self> {
        let limit = fields.optional(|fields| fields.integer("limit", 1..=200), "limit");
        let cursor = fields.optional(|fields| fields.text("cursor", 1..=10), "cursor");
        Some(Self(limit, cursor))
    }
}

fn query(pairs: &[(&str, &str)]) -> Result<Page, BodyError> {
    read_query(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn query_holds_numbers_as_strings() {
    let page = query(&[("limit", "50"), ("cursor", "12")]).expect("readable");
    assert_eq!((page.0, page.1.as_deref()), (Some(50), Some("12")));
    let page = query(&[]).expect("readable");
    assert_eq!((page.0, page.1), (None, None));
}

#[test]
fn every_error_of_a_query_is_reported() {
    let pairs = [("limit", "x"), ("cursor", ""), ("cursor", "2"), ("y", "1")];
    let Err(BodyError::Fields(faults)) = query(&pairs) else { panic!("readable") };
    let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["cursor", "limit", "cursor", "y"]);
    assert!(query(&[("limit", "201")]).is_err());
}

#[test]
fn nul_is_rejected() {
    let found = errors_of(json!({"description": "a\0b", "data": 1, "ttl": 1}));
    assert_eq!(found, [("description".into(), "must not contain NUL".into())]);
}
