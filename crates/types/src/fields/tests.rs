use serde_json::json;

use super::*;
use crate::task::SubmitTask;

fn errors_of(body: Value) -> Vec<(String, String)> {
    match SubmitTask::from_body(body) {
        Err(BodyError::Fields(errors)) => {
            errors.into_iter().map(|error| (error.field, error.message)).collect()
        }
        other => panic!("expected field errors, got {other:?}"),
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
    SubmitTask::from_body(JsonBody::parse(text.as_bytes()).expect("JSON"))
}

#[test]
fn integer_accepts_any_notation() {
    let ttl = |ttl: &str| written(&format!(r#"{{"description":"d","data":1,"ttl":{ttl}}}"#));
    for text in ["5", "5.0", "5e0", "50e-1", "0.5E+1"] {
        assert_eq!(ttl(text).expect(text).ttl, 5, "{text}");
    }
    for text in [
        "5.5",
        "-5",
        "1e999",
        "-1e999",
        "1e-999",
        "99999999999999999999",
        "\"5\"",
        "[5]",
        "5.00000000000000000001",
    ] {
        let Err(BodyError::Fields(errors)) = ttl(text) else { panic!("{text}") };
        assert_eq!(errors.len(), 1, "{text}");
        assert_eq!(errors[0].field, "ttl", "{text}");
    }
}

#[test]
fn json_is_kept_as_written() {
    let own = r#"{"z":18446744073709551617,"a":[-0,1.50,1E2],"y":"\u00e9"}"#;
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
        let Err(BodyError::Fields(errors)) = written(&body) else { panic!("{data:.20}") };
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["description", "data", "runAt"], "{data:.20}");
    }
}

#[test]
fn duplicate_field_is_an_error() {
    let body = r#"{"ttl":1,"description":"d","data":1,"ttl":2,"x":1,"x":1}"#;
    let Err(BodyError::Fields(errors)) = written(body) else { panic!("readable") };
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["ttl", "x", "x"]);
}

#[test]
fn lone_surrogate_is_named() {
    let body = r#"{"description":"cut \ud83d","data":{"a":"\udc00"},"ttl":1,"\ud800":1}"#;
    let Err(BodyError::Fields(errors)) = written(body) else { panic!("readable") };
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["", "description", "data.a"]);
    for (error, escape) in errors.iter().zip(["\\ud800", "\\ud83d", "\\udc00"]) {
        assert!(error.message.contains(escape), "{error:?}");
    }
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
    let Err(BodyError::Fields(errors)) = query(&pairs) else { panic!("readable") };
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["cursor", "limit", "cursor", "y"]);
    for limit in ["201", "1e2", "5.0", "-5", "+5", " 5", "", "\u{665}"] {
        assert!(query(&[("limit", limit)]).is_err(), "{limit}");
    }
    assert_eq!(query(&[("limit", "050")]).expect("digits").0, Some(50));
}

#[test]
fn nul_is_rejected() {
    let found = errors_of(json!({"description": "a\0b", "data": 1, "ttl": 1}));
    assert_eq!(found, [("description".into(), "must not contain NUL".into())]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_rejected(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        if let Ok(body) = JsonBody::parse(&bytes) {
            let _ = SubmitTask::from_body(body);
        }
    }

    #[test]
    fn any_field_value_is_read_or_rejected(value in "[\\[\\]{}\",:.0-9eE+\\-a-z\\\\ ]{0,60}") {
        let body = format!(r#"{{"description":"d","ttl":{value},"data":{value}}}"#);
        if let Ok(body) = JsonBody::parse(body.as_bytes())
            && let Ok(task) = SubmitTask::from_body(body)
        {
            proptest::prop_assert!(crate::limits::TTL.contains(&task.ttl));
        }
    }

    #[test]
    fn integers_are_read_in_any_notation(ttl in crate::limits::TTL, zeros in 0_usize..5) {
        for text in [format!("{ttl}"), format!("{ttl}.{}", "0".repeat(zeros + 1)), format!("{ttl}e0")] {
            let body = format!(r#"{{"description":"d","data":1,"ttl":{text}}}"#);
            proptest::prop_assert_eq!(written(&body).expect("valid").ttl, ttl);
        }
    }

    #[test]
    fn any_query_is_read_or_rejected(
        pairs in proptest::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..9),
    ) {
        let _ = read_query::<Page>(pairs);
    }
}
