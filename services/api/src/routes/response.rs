//! Responses with tasks.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use miniapp_http::Problem;
use miniapp_tasks::Task;
use miniapp_tasks::domain::State;
use miniapp_types::problem::Code;
use ring::digest::{SHA256, digest};
use serde::Serialize;

/// The approximate size of a task as JSON, without data and result.
const TASK_BYTES: usize = 640;

/// Returns a task with its `ETag`.
pub(super) fn task(status: StatusCode, task: &Task) -> Result<Response, Problem> {
    miniapp_telemetry::trace::link_current_span("task.id", task.id, &task.spec.trace);
    let mut response = json(size(task), &task.view())?;
    *response.status_mut() = status;
    response.headers_mut().insert(ETAG, etag(task)?);
    Ok(response)
}

/// Returns the approximate size of a task as JSON.
pub(super) fn size(task: &Task) -> usize {
    let result = task.state.result.as_deref().map_or(0, |result| result.get().len());
    TASK_BYTES + task.spec.data.get().len() + result
}

/// Returns the entity tag of a task: its version, which every change increases. That of a waiting
/// task also covers its message, which may depend on the workers.
pub(super) fn etag(task: &Task) -> Result<HeaderValue, Problem> {
    let State { version, message, ready_at, .. } = &task.state;
    let tag = match message.as_deref().filter(|_| ready_at.is_some()) {
        None => format!("\"{version}\""),
        Some(message) => {
            let hash = digest(&SHA256, message.as_bytes());
            let bytes = hash.as_ref().first_chunk().copied().unwrap_or_default();
            format!("\"{version}-{:08x}\"", u32::from_be_bytes(bytes))
        }
    };
    HeaderValue::try_from(tag).map_err(Problem::internal)
}

/// Returns JSON of about `size` bytes.
pub(super) fn json(size: usize, body: &impl Serialize) -> Result<Response, Problem> {
    let mut text = Vec::with_capacity(size);
    serde_json::to_writer(&mut text, body).map_err(Problem::internal)?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Returns the problem `task_not_found` for `None`.
pub(super) fn found<T>(found: Option<T>) -> Result<T, Problem> {
    found.ok_or_else(|| Problem::new(Code::TaskNotFound))
}
