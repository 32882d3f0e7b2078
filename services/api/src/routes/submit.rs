//! `POST /api/tasks`: accepts a task.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use contracts::problem::Code;
use contracts::task::{MAX_DATA_BYTES, SubmitTask, Task};
use http::header::{HeaderName, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use kit::clock::truncated;
use kit::http::{Body, Problem};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tasks::NewTask;
use tasks::engine::IdempotencyKey;

use super::{fault, shown};
use crate::state::Api;
use crate::token::Authorized;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST_KEY: usize = 255;
const USUAL_KIND: &str = "simulate";
const USUAL_ATTEMPTS: u32 = 3;

pub(super) const PROBLEMS: &[Code] = &[
    Code::MalformedBody,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidFields,
    Code::IdempotencyKeyReused,
];

/// Submit a task
///
/// The task is stored when the answer comes, and is run even if everything breaks down
/// right after. With an `Idempotency-Key` a request can be repeated without making a
/// second task.
#[utoipa::path(
    post,
    path = "/api/tasks",
    tag = "tasks",
    request_body = SubmitTask,
    params((
        "Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "Visible ASCII characters; the same key and body give the same task",
    )),
    responses(
        (status = 201, description = "Accepted", body = Task, headers(
            ("Location", description = "Where the task is"),
            ("ETag", description = "Its version"),
        )),
        (status = 200, description = "Accepted before, with the same key", body = Task, headers(
            ("Location", description = "Where the task is"),
            ("ETag", description = "Its version"),
        )),
    )
)]
pub(super) async fn submit(
    State(api): State<Api>,
    Authorized(caller): Authorized,
    Key(key): Key,
    Body(body): Body<SubmitTask>,
) -> Result<Response, Problem> {
    let SubmitTask { description, data, ttl, kind, max_attempts, run_at } = body;
    let data = to_raw_value(&data).map_err(Problem::internal)?;
    if data.get().len() > MAX_DATA_BYTES {
        let detail = format!("data may have {MAX_DATA_BYTES} bytes of JSON");
        return Err(Problem::new(Code::BodyTooLarge).detail(detail));
    }
    let kind = kind.unwrap_or_else(|| USUAL_KIND.to_owned());
    if !api.kinds.allow(&kind, &api.tasks).await.map_err(fault::store)? {
        return Err(Problem::invalid_field("kind", "is none that a worker can run"));
    }
    let max_attempts = max_attempts.unwrap_or(USUAL_ATTEMPTS);
    let run_at = run_at.map(truncated);
    let asked =
        Asked { kind: &kind, description: &description, data: &data, ttl, max_attempts, run_at };
    let key = key.map(|key| IdempotencyKey { key, digest: asked.digest() });
    let new = NewTask {
        owner: caller.user_id,
        kind,
        description,
        data,
        ttl,
        max_attempts,
        // A time in the past means now.
        run_at: run_at.filter(|at| *at > api.clock.now()),
        key,
        trace: kit::trace::current_context(),
    };
    let submitted = api.tasks.submit(new).await.map_err(fault::task)?;
    let status = if submitted.fresh { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/api/tasks/{}", submitted.task.id);
    let location = HeaderValue::try_from(location).map_err(Problem::internal)?;
    let mut response = shown::task(status, &submitted.task)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// What is asked for, defaults filled in: two bodies that ask for the same are the same,
/// whatever the order of their fields.
#[derive(Serialize)]
struct Asked<'a> {
    kind: &'a str,
    description: &'a str,
    data: &'a RawValue,
    ttl: u32,
    max_attempts: u32,
    run_at: Option<Timestamp>,
}

impl Asked<'_> {
    fn digest(&self) -> [u8; 32] {
        // Plain data, and its JSON objects come sorted: serializing it can't fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &text).as_ref());
        bytes
    }
}

/// The client's key against doubles.
pub(super) struct Key(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let fault = |message: String| Problem::invalid_field("Idempotency-Key", message);
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(fault("is given more than once".to_owned()));
        }
        let key = value.to_str().ok().filter(|key| {
            let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
            is_visible && (1..=LONGEST_KEY).contains(&key.len())
        });
        let unfit = || fault(format!("must have 1 to {LONGEST_KEY} visible ASCII characters"));
        key.map(|key| Self(Some(key.to_owned()))).ok_or_else(unfit)
    }
}
