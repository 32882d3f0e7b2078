//! `POST /api/tasks`: submits a task.

use axum::extract::State;
use axum::response::Response;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use miniapp_http::Problem;
use miniapp_runtime::clock::truncate_to_micros;
use miniapp_tasks::NewTask;
use miniapp_types::limits::MAX_DATA_BYTES;
use miniapp_types::problem::Code;
use miniapp_types::task::{SubmitTask, Task};

use super::idempotency::{self, Content};
use super::response;
use super::submission::Submission;
use crate::error::task_problem;
use crate::state::Api;
use crate::token::AuthenticatedBody;

const DEFAULT_MAX_ATTEMPTS: u32 = 3;

pub(super) const PROBLEMS: &[Code] = &[
    Code::MalformedBody,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidFields,
    Code::IdempotencyKeyReused,
    Code::TooManyRequests,
];

/// Submit a task
///
/// The task is stored before the response is sent, and survives a crash of any process. With
/// an `Idempotency-Key`, the request can be repeated without creating a second task.
#[utoipa::path(
    post,
    path = "/api/tasks",
    operation_id = "submit_task",
    tag = "tasks",
    request_body = SubmitTask,
    params((
        "Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "Visible ASCII characters; the same key and body return the same task",
    )),
    responses(
        (status = 201, description = "Accepted", body = Task, headers(
            ("Location", description = "The URL of the task"),
            ("ETag", description = "Its version"),
        )),
        (status = 200, description = "Accepted earlier with the same key", body = Task, headers(
            ("Location", description = "The URL of the task"),
            ("ETag", description = "Its version"),
        )),
    )
)]
pub(super) async fn submit(
    State(api): State<Api>,
    AuthenticatedBody { principal, body: submission }: AuthenticatedBody<Submission>,
) -> Result<Response, Problem> {
    let (task, key) = submission.validate(&api).await?;
    let SubmitTask { description, data, ttl, kind, queue, max_attempts, run_at } = task;
    if data.get().len() > MAX_DATA_BYTES {
        let detail = format!("data may have {MAX_DATA_BYTES} bytes of JSON");
        return Err(Problem::new(Code::BodyTooLarge).detail(detail));
    }
    let kind = kind.unwrap_or_default();
    let max_attempts = max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS);
    let run_at = run_at.map(truncate_to_micros);
    let fingerprint = |key| {
        let (kind, description, queue) = (&kind, &description, queue.as_ref());
        let content = Content { kind, queue, description, ttl, max_attempts, run_at };
        idempotency::key(key, &content, &data)
    };
    let key = key.map(fingerprint).transpose()?;
    let new = NewTask {
        owner: principal.user_id,
        queue: match queue {
            Some(queue) => queue,
            None => api.kinds.queue(&kind).await,
        },
        kind,
        description,
        data,
        ttl,
        max_attempts,
        // A time in the past means now.
        run_at: run_at.filter(|at| *at > api.clock.now()),
        key,
        trace: miniapp_telemetry::trace::current_context(),
    };
    let submitted = api.tasks.submit(new).await.map_err(task_problem)?;
    let status = if submitted.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/api/tasks/{}", submitted.task.id);
    let location = HeaderValue::try_from(location).map_err(Problem::internal)?;
    let mut response = response::task(status, &submitted.task)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
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
    async fn submitted_task_can_be_read() {
        let (platform, token) = start().await;
        let answer = platform.post("/api/tasks").token(&token).json(&body()).send().await;
        let task = answer.json();
        assert_eq!(answer.status(), 201);
        assert_eq!(
            answer.header("location"),
            format!("/api/tasks/{}", task["taskId"].as_str().unwrap())
        );
        assert_eq!(answer.header("etag"), "\"1\"");
        for (field, value) in [
            ("status", json!("Awaiting")),
            ("data", body()["data"].clone()),
            ("maxAttempts", json!(3)),
            ("generation", json!(1)),
            ("attempt", json!(0)),
            ("queue", json!("default")),
            ("progress", json!(0.0)),
            ("runAt", Value::Null),
            ("createdAt", json!("2030-01-01T00:00:00Z")),
        ] {
            assert_eq!(task[field], value, "{field}");
        }
        let found = platform.get(answer.header("location")).token(&token).send().await;
        assert_eq!((found.status(), found.json()), (200, task));
    }

    #[tokio::test]
    async fn optional_fields_have_defaults() {
        let (platform, token) = start().await;
        let body = json!({"description": "d", "data": "text", "ttl": 1, "kind": null});
        let answer = platform.post("/api/tasks").token(&token).json(&body).send().await;
        assert_eq!(answer.json()["kind"], "simulate");
    }

    #[tokio::test]
    async fn data_size_is_limited() {
        let (platform, token) = start().await;
        let of_size = |size: usize| with("data", json!("x".repeat(size - 2)));
        let answer =
            platform.post("/api/tasks").token(&token).json(&of_size(256 * 1024)).send().await;
        assert_eq!(answer.status(), 201);
        let answer =
            platform.post("/api/tasks").token(&token).json(&of_size(256 * 1024 + 1)).send().await;
        assert_eq!(answer.problem(), (413, "body_too_large".to_owned()));
    }

    #[tokio::test]
    async fn idempotency_key_makes_requests_repeatable() {
        let (platform, token) = start().await;
        let send = async |token: &Token, key: &str, body: &Value| {
            let request = platform.post("/api/tasks").token(token).header("idempotency-key", key);
            request.json(body).send().await
        };
        let first = send(&token, "k", &body()).await;
        assert_eq!(first.status(), 201);
        let same = json!({"kind": "echo", "ttl": 5, "data": {"a": [1, null], "b": 2},
            "description": "d", "maxAttempts": 3});
        let again = send(&token, "k", &same).await;
        assert_eq!((again.status(), again.json()), (200, first.json()));
        assert_eq!(again.header("location"), first.header("location"));
        for (field, value) in [
            ("kind", json!("sleep")),
            ("data", json!({"a": [1, null]})),
            ("ttl", json!(6)),
            ("maxAttempts", json!(4)),
            ("queue", json!("gpu")),
            ("runAt", json!("2031-01-01T00:00:00Z")),
            ("description", json!("e")),
        ] {
            let other = send(&token, "k", &with(field, value)).await;
            assert_eq!(other.problem(), (422, "idempotency_key_reused".to_owned()), "{field}");
        }
        assert_eq!(send(&token, "other", &body()).await.status(), 201);
        let someone = platform.auth.sign_in();
        assert_eq!(send(&someone, "k", &body()).await.status(), 201);
    }

    #[tokio::test]
    async fn data_is_returned_verbatim() {
        let (platform, token) = start().await;
        let data = r#"{"z":18446744073709551617,"a":[-0,1.50,1E2],"y":"\u00e9"}"#;
        let body = format!(r#"{{"description":"d","ttl":5.0,"data":{data}}}"#);
        let request = platform.post("/api/tasks").token(&token).body("application/json", body);
        let answer = request.send().await;
        assert_eq!((answer.status(), &answer.json()["ttl"]), (201, &json!(5)));
        let found = platform.get(answer.header("location")).token(&token).send().await;
        for answer in [&answer, &found] {
            assert!(answer.body().contains(&format!("\"data\":{data},")), "{}", answer.body());
        }
    }

    #[tokio::test]
    async fn run_at_in_the_past_means_now() {
        let (platform, token) = start().await;
        for (run_at, kept) in [
            ("2029-12-31T23:59:59Z", Value::Null),
            ("2030-01-01T00:00:01.1234567Z", json!("2030-01-01T00:00:01.123456Z")),
        ] {
            let body = with("runAt", json!(run_at));
            let answer = platform.post("/api/tasks").token(&token).json(&body).send().await;
            assert_eq!(answer.json()["runAt"], kept);
        }
    }

    #[tokio::test]
    async fn kind_is_accepted_once_a_worker_announces_it() {
        use crate::kinds::{MAX_AGE, MAX_AGE_REJECTING};
        use crate::testing::skip;

        let (platform, token) = start().await;
        let send = async || {
            let request = platform.post("/api/tasks").token(&token).json(&body());
            request.send().await.status()
        };
        assert_eq!(send().await, 201, "nothing is known yet");
        platform.announce("hash").await;
        assert_eq!(send().await, 201, "the kinds are cached");
        skip(MAX_AGE).await;
        assert_eq!(send().await, 422);
        platform.announce("echo").await;
        skip(MAX_AGE_REJECTING).await;
        assert_eq!(send().await, 201);
    }
}
