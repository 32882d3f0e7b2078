//! The body and headers of a request that submits a task.

use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::HeaderName;
use miniapp_http::{Problem, read_json};
use miniapp_types::fields::{BodyError, FromFields as _};
use miniapp_types::limits::MAX_DATA_BYTES;
use miniapp_types::problem::FieldError;
use miniapp_types::task::SubmitTask;
use serde_json::value::RawValue;

use crate::error::store_problem;
use crate::state::Api;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_LENGTH: usize = 255;

/// A parsed request. Its errors are kept, so that [`Self::validate`] reports all of them
/// together.
#[derive(Debug)]
pub(super) struct Submission {
    /// The kind and the data, even if other fields are invalid.
    kind: Option<String>,
    data: Option<Box<RawValue>>,
    task: Result<SubmitTask, Vec<FieldError>>,
    key: Result<Option<String>, String>,
}

impl<S: Send + Sync> FromRequest<S> for Submission {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let key = idempotency_key(request.headers());
        let body = read_json(request).await?;
        let kind = body.text("kind");
        let data = body.raw("data").map(ToOwned::to_owned);
        let task = match SubmitTask::from_body(body) {
            Ok(task) => Ok(task),
            Err(BodyError::Fields(errors)) => Err(errors),
            Err(error @ BodyError::NotAnObject) => return Err(error.into()),
        };
        Ok(Self { kind, data, task, key })
    }
}

impl Submission {
    /// Returns the task and the idempotency key, or all errors.
    pub async fn validate(self, api: &Api) -> Result<(SubmitTask, Option<String>), Problem> {
        let Self { kind, data, task, key } = self;
        // Larger data is rejected for its size.
        let data = data.filter(|data| data.get().len() <= MAX_DATA_BYTES);
        let named = kind.or_else(|| api.default_kind.clone());
        let checked = match &named {
            Some(kind) => api.kinds.check(kind, data.as_deref(), &api.tasks).await,
            None => Ok(vec![field_error("kind", "is required")]),
        };
        let (task, mut errors) = match task {
            Ok(task) => (Some(SubmitTask { kind: named, ..task }), Vec::new()),
            Err(errors) => (None, errors),
        };
        match checked {
            Ok(found) => {
                let is_known = |field: &str| errors.iter().any(|error| error.field == field);
                let found: Vec<_> = found.into_iter().filter(|it| !is_known(&it.field)).collect();
                errors.extend(found);
            }
            Err(error) if errors.is_empty() && key.is_ok() => return Err(store_problem(error)),
            Err(_) => {}
        }
        match (task, key) {
            (Some(task), Ok(key)) if errors.is_empty() => return Ok((task, key)),
            (_, Err(message)) => errors.push(field_error("Idempotency-Key", message)),
            _ => {}
        }
        Err(Problem::invalid_fields(errors))
    }
}

fn field_error(field: &str, message: impl Into<String>) -> FieldError {
    FieldError { field: field.to_owned(), message: message.into() }
}

/// Returns the idempotency key, or why it is invalid.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("is given more than once".to_owned());
    }
    let key = value.to_str().ok().filter(|key| {
        let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        is_visible && (1..=MAX_KEY_LENGTH).contains(&key.len())
    });
    let invalid = || format!("must have 1 to {MAX_KEY_LENGTH} visible ASCII characters");
    key.map(|key| Some(key.to_owned())).ok_or_else(invalid)
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
    async fn invalid_body_reports_every_field() {
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
    async fn malformed_bodies_are_rejected() {
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
            let request =
                platform.post("/api/tasks").token(&token).body(content_type, text.clone());
            let answer = request.send().await;
            assert_eq!(answer.problem(), (status, code.to_owned()), "{text:.40}");
        }
        let bytes = b"{\"description\":\"\xff\"}".to_vec();
        let answer = platform.post("/api/tasks").token(&token).body(json, bytes).send().await;
        assert_eq!(answer.problem().0, 400);
    }

    #[tokio::test]
    async fn idempotency_key_must_be_visible_ascii() {
        let (platform, token) = start().await;
        for key in ["", "a b", "\u{fc}", &"k".repeat(256)] {
            let request = platform.post("/api/tasks").token(&token).header("idempotency-key", key);
            assert_eq!(request.json(&body()).send().await.fields(), ["Idempotency-Key"], "{key}");
        }
        let request = platform.post("/api/tasks").token(&token).header("idempotency-key", "a");
        let answer = request.header("idempotency-key", "b").json(&body()).send().await;
        assert_eq!(answer.fields(), ["Idempotency-Key"]);
        let request = platform.post("/api/tasks").token(&token).header("idempotency-key", "a b");
        let answer = request.json(&with("ttl", json!(0))).send().await;
        assert_eq!(answer.fields(), ["ttl", "Idempotency-Key"], "reported with the others");
        let longest = "k".repeat(255);
        let request = platform.post("/api/tasks").token(&token).header("idempotency-key", &longest);
        assert_eq!(request.json(&body()).send().await.status(), 201);
    }
}
