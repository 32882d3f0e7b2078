//! `GET /api/tasks/{id}/events`: the events of a task, as a document or a stream.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use miniapp_http::{Id, Problem};
use miniapp_types::problem::Code;
use miniapp_types::task::{Event, EventType, Timeline};

use super::response;
use super::stream_headers::{LastEventId, WantsStream};
use crate::error::store_problem;
use crate::live::{Source, Stream};
use crate::state::Api;
use crate::token::AuthUser;

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
    let events = api.tasks.timeline(principal.user_id, id).await.map_err(store_problem)?;
    let events = response::found(events)?;
    if events.last().is_none_or(|event| event.kind == EventType::Deleted) {
        return Err(Problem::new(Code::TaskNotFound));
    }
    response::json(events.len() * EVENT_BYTES + 16, &Timeline { events })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testing::Platform;

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
