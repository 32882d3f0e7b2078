//! `GET /api/tasks/{id}/events`: the events of a task, as a document or a stream.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use miniapp_http::{Id, Problem};
use miniapp_tasks::{Tasks, TimelinePart};
use miniapp_types::account::Scope;
use miniapp_types::problem::Code;
use miniapp_types::task::{Event, Timeline};
use uuid::Uuid;

use super::response;
use super::stream_headers::{LastEventId, WantsStream};
use crate::error::store_problem;
use crate::live::{Source, Stream, StreamSlot};
use crate::state::Api;
use crate::token::{AuthUser, Principal, TokenVerifier};

/// The approximate size of an event as JSON.
const EVENT_BYTES: usize = 384;

pub(super) const PROBLEMS: &[Code] =
    &[Code::TaskNotFound, Code::InvalidFields, Code::TooManyRequests];

/// The events of a task
///
/// Returns the events so far as a document. With `Accept: text/event-stream`, streams the
/// events from the first one or after `Last-Event-ID`, until the terminal event of the newest
/// generation. Each message has the event's `id`, its type as `event`, and its JSON as
/// `data`.
#[utoipa::path(
    get,
    path = "/api/tasks/{id}/events",
    operation_id = "list_task_events",
    tag = "events",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("Last-Event-ID" = Option<Uuid>, Header,
            description = "Resume a stream after this event"),
    ),
    responses(
        (status = 200, description = "The events, oldest first", content(
            (Timeline = "application/json"),
            (Event = "text/event-stream"),
        )),
        (status = 204, description = "`Last-Event-ID` was the last event"),
    )
)]
pub(super) async fn events(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    id: Id,
    WantsStream(wants_stream): WantsStream,
    LastEventId(last): LastEventId,
) -> Result<Response, Problem> {
    let id = id.or(Code::TaskNotFound)?;
    if wants_stream {
        let stream = api.live.open(principal, Source::Task(id), last).await?;
        // 204 makes an EventSource stop reconnecting.
        let no_content = || StatusCode::NO_CONTENT.into_response();
        return Ok(stream.map_or_else(no_content, Stream::into_response));
    }
    let part = api.tasks.timeline(principal.user_id, id, 0).await.map_err(store_problem)?;
    let part = response::found(part.filter(|part| !part.deleted))?;
    if part.next_page.is_none() {
        let size = part.events.len() * EVENT_BYTES + 16;
        return response::json(size, &Timeline { events: part.events });
    }
    let slot = api.live.slot(principal.user_id)?;
    let (tasks, verifier) = (api.tasks.clone(), api.verifier.clone());
    let document = Document { tasks, verifier, principal, id, _slot: slot };
    Ok(document.into_response(part))
}

/// A [`Timeline`] that is read while the client receives it, because it can be of any length.
struct Document {
    tasks: Tasks,
    verifier: TokenVerifier,
    principal: Arc<Principal>,
    id: Uuid,
    _slot: StreamSlot,
}

/// What follows in a document.
enum Rest {
    Part(TimelinePart),
    Page(u32),
}

impl Document {
    fn into_response(self, first: TimelinePart) -> Response {
        const OPENING: Bytes = Bytes::from_static(b"{\"events\":[");
        let opening = futures_util::stream::once(async { Ok(OPENING) });
        let parts = futures_util::stream::try_unfold(
            (self, Some(Rest::Part(first))),
            async |(mut document, rest)| {
                let (part, begin) = match rest {
                    None => return Ok(None),
                    Some(Rest::Part(part)) => (part, ""),
                    Some(Rest::Page(page)) => (document.read(page).await?, ","),
                };
                let chunk = chunk(begin, &part)?;
                Ok::<_, io::Error>(Some((chunk, (document, part.next_page.map(Rest::Page)))))
            },
        );
        let mut response = Response::new(Body::from_stream(opening.chain(parts)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// Reads the next part, if the token or key is still valid. An error ends the connection,
    /// because the status has been sent.
    async fn read(&mut self, page: u32) -> Result<TimelinePart, io::Error> {
        let principal = self.verifier.revalidate(&self.principal).await;
        self.principal = principal.map_err(io::Error::other)?;
        self.principal.require(Scope::TasksRead).map_err(io::Error::other)?;
        let owner = self.principal.user_id;
        let part = self.tasks.timeline(owner, self.id, page).await.map_err(io::Error::other)?;
        part.ok_or_else(|| io::Error::other("the task was deleted"))
    }
}

/// Encodes the events of a part, after `begin` if there are any, and the end of the document after
/// the last part.
fn chunk(begin: &str, part: &TimelinePart) -> Result<Bytes, io::Error> {
    let mut text = Vec::with_capacity(part.events.len() * EVENT_BYTES + 16);
    let mut separator = begin;
    for event in &part.events {
        text.extend_from_slice(separator.as_bytes());
        serde_json::to_writer(&mut text, event)?;
        separator = ",";
    }
    if part.next_page.is_none() {
        text.extend_from_slice(b"]}");
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use serde_json::Value;

    use crate::testing::{Platform, eventually};

    #[tokio::test]
    async fn timeline_starts_with_the_first_event() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let id = platform.submit(&token).await;
        platform.finish(&token, id).await;
        let path = format!("/api/tasks/{id}/events");
        let answer = platform.get(&path).token(&token).header("accept", "*/*").send().await;
        let events = answer.json();
        let events = events["events"].as_array().expect("events");
        let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
        assert_eq!(types, ["created", "started", "finished"]);
        assert!(events.iter().all(|event| event["taskId"] == id.to_string()));
        assert_eq!((&events[1]["attempt"], &events[1]["worker"]), (&1.into(), &"worker-1".into()));
    }

    #[tokio::test]
    async fn long_document_ends_with_its_token_or_key() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let key = platform.auth.create_key(&["user"], &["tasks:read", "tasks:write"]);
        for (credential, is_key) in [(&token, false), (&key, true)] {
            let id = platform.submit(credential).await;
            platform.finish(credential, id).await;
            for _ in 0..400 {
                platform.tasks.restart(credential.user, id).await.expect("restarted");
                platform.finish(credential, id).await;
            }
            let path = format!("/api/tasks/{id}/events");
            let whole = platform.get(&path).token(credential).send().await;
            let mut document = platform.get(&path).token(credential).open().await;
            let opening = document.next().await.expect("a chunk").expect("no error");
            let first = document.next().await.expect("a chunk").expect("no error");
            assert!(opening.len() + first.len() < whole.body().len(), "a single part");
            if is_key {
                platform.auth.revoke_key(&key).await;
            } else {
                platform.auth.sign_out(&token).await;
            }
            let is_refused =
                async || platform.get("/api/tasks").token(credential).send().await.status() == 401;
            eventually("the end is known", is_refused).await;
            assert!(document.next().await.expect("an end").is_err(), "read after the end");
        }
    }

    #[tokio::test]
    async fn last_event_id_must_be_an_event_id() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        for path in ["/api/events".to_owned(), format!("/api/tasks/{}/events", uuid::Uuid::nil())] {
            for last in ["x", "7", "00000000-0000-0000-0000-000000000000"] {
                let request = platform.get(&path).token(&token).header("last-event-id", last);
                assert_eq!(request.send().await.fields(), ["Last-Event-ID"], "{path}: {last}");
            }
        }
    }
}
