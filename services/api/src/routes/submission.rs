//! What a request for a new task says in its body and headers.

use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::HeaderName;
use miniapp_http::{Problem, read_json};
use miniapp_types::fields::{BodyError, FromFields as _};
use miniapp_types::problem::FieldError;
use miniapp_types::task::SubmitTask;

use super::fault;
use crate::state::Api;

/// The kind of a task that names none.
pub(super) const USUAL_KIND: &str = "simulate";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST_KEY: usize = 255;

/// A task that is wanted, and the client's key against doubles. What is wrong with either
/// is told at once.
#[derive(Debug)]
pub(super) struct Submission {
    pub task: SubmitTask,
    pub key: Option<String>,
}

impl FromRequest<Api> for Submission {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let key = key(request.headers());
        let body = read_json(request).await?;
        let kind = body.text("kind");
        let is_known = api.kinds.allow(kind.as_deref().unwrap_or(USUAL_KIND), &api.tasks).await;
        let (task, mut faults) = match SubmitTask::from_body(body) {
            Ok(task) => (Some(task), Vec::new()),
            Err(BodyError::Fields(faults)) => (None, faults),
            Err(fault @ BodyError::NotAnObject) => return Err(fault.into()),
        };
        match is_known {
            Ok(false) if faults.iter().all(|fault| fault.field != "kind") => {
                faults.push(field_fault("kind", "is none that a worker can run"));
            }
            Err(error) if faults.is_empty() && key.is_ok() => return Err(fault::store(error)),
            _ => {}
        }
        match (task, key) {
            (Some(task), Ok(key)) if faults.is_empty() => return Ok(Self { task, key }),
            (_, Err(message)) => faults.push(field_fault("Idempotency-Key", message)),
            _ => {}
        }
        Err(Problem::invalid_fields(faults))
    }
}

fn field_fault(field: &str, message: impl Into<String>) -> FieldError {
    FieldError { field: field.to_owned(), message: message.into() }
}

/// The client's key, or what is wrong with it.
fn key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("is given more than once".to_owned());
    }
    let key = value.to_str().ok().filter(|key| {
        let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        is_visible && (1..=LONGEST_KEY).contains(&key.len())
    });
    let unfit = || format!("must have 1 to {LONGEST_KEY} visible ASCII characters");
    key.map(|key| Some(key.to_owned())).ok_or_else(unfit)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Platform, Token};

    fn body() -> Value {
        json!({"description": "d", "data": {"b": 2, "a": [1, null]}, "ttl": 5, "kind": "echo"})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = body();
        body[field] = value;
        body
    }

    async fn start() -> (Platform, Token) {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        (platform, token)
    }

    #[tokio::test]
    async fn every_fault_of_a_body_is_told() {
        let (platform, token) = start().await;
        platform.announce("echo").await;
        platform.announce("simulate").await;
        let cases = [
            (json!({}), vec!["description", "data", "ttl"]),
            (with("description", json!("")), vec!["description"]),
            (with("description", json!("x".repeat(501))), vec!["description"]),
            (with("description", json!("a\u{0}b")), vec!["description"]),
            (with("ttl", json!(0)), vec!["ttl"]),
            (with("ttl", json!(86_401)), vec!["ttl"]),
            (with("ttl", json!("5")), vec!["ttl"]),
            (with("ttl", json!(1.5)), vec!["ttl"]),
            (with("ttl", json!(1e300)), vec!["ttl"]),
            (with("maxAttempts", json!(0)), vec!["maxAttempts"]),
            (with("maxAttempts", json!(26)), vec!["maxAttempts"]),
            (with("runAt", json!("tomorrow")), vec!["runAt"]),
            (with("kind", json!("unheard-of")), vec!["kind"]),
            (with("x", json!(1)), vec!["x"]),
            (
                json!({"ttl": -1, "x": 1, "kind": 7}),
                vec!["description", "data", "ttl", "kind", "x"],
            ),
            (
                json!({"description": "d", "data": 1, "ttl": 0, "x": 1, "kind": "unheard-of"}),
                vec!["ttl", "x", "kind"],
            ),
        ];
        for (body, fields) in cases {
            let answer = platform.post("/api/tasks").token(&token).json(&body).send().await;
            assert_eq!(answer.fields(), fields, "{body}");
        }
        let widest = with("description", json!("\u{1F980}".repeat(500)));
        let answer = platform.post("/api/tasks").token(&token).json(&widest).send().await;
        assert_eq!(answer.status(), 201);
    }

    #[tokio::test]
    async fn what_is_no_body_is_refused() {
        let (platform, token) = start().await;
        let json = "application/json";
        let deep = format!("{{\"data\":{}", "[".repeat(10_000));
        let large = " ".repeat((1 << 20) + 1);
        let cases = [
            (json, String::new(), 400, "malformed_body"),
            (json, "{\"ttl\":".to_owned(), 400, "malformed_body"),
            (json, "[]".to_owned(), 400, "malformed_body"),
            (json, "\"text\"".to_owned(), 400, "malformed_body"),
            (json, deep, 400, "malformed_body"),
            (json, large, 413, "body_too_large"),
            ("text/plain", body().to_string(), 415, "unsupported_media_type"),
        ];
        for (content_type, text, status, code) in cases {
            let asking = platform.post("/api/tasks").token(&token).body(content_type, text.clone());
            let answer = asking.send().await;
            assert_eq!(answer.problem(), (status, code.to_owned()), "{text:.40}");
        }
        let bytes = b"{\"description\":\"\xff\"}".to_vec();
        let answer = platform.post("/api/tasks").token(&token).body(json, bytes).send().await;
        assert_eq!(answer.problem().0, 400);
    }

    #[tokio::test]
    async fn a_key_is_visible_ascii() {
        let (platform, token) = start().await;
        for key in ["", "a b", "\u{fc}", &"k".repeat(256)] {
            let asking = platform.post("/api/tasks").token(&token).header("idempotency-key", key);
            assert_eq!(asking.json(&body()).send().await.fields(), ["Idempotency-Key"], "{key}");
        }
        let asking = platform.post("/api/tasks").token(&token).header("idempotency-key", "a");
        let answer = asking.header("idempotency-key", "b").json(&body()).send().await;
        assert_eq!(answer.fields(), ["Idempotency-Key"]);
        let asking = platform.post("/api/tasks").token(&token).header("idempotency-key", "a b");
        let answer = asking.json(&with("ttl", json!(0))).send().await;
        assert_eq!(answer.fields(), ["ttl", "Idempotency-Key"], "told with the others");
        let longest = "k".repeat(255);
        let asking = platform.post("/api/tasks").token(&token).header("idempotency-key", &longest);
        assert_eq!(asking.json(&body()).send().await.status(), 201);
    }
}
