//! `GET /api/tasks/{id}/events`: what happened to a task, and what happens.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use miniapp_http::{Id, Problem};
use miniapp_types::problem::Code;
use miniapp_types::task::{EventType, Timeline};

use super::watch::{LastEventId, WantsStream};
use super::{fault, shown};
use crate::live::{Source, Stream};
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::TaskNotFound, Code::InvalidFields];

/// The events of a task
///
/// All so far as a document. With `Accept: text/event-stream` as a stream, from the
/// beginning or after `Last-Event-ID`, which ends with the terminal event of the newest
/// generation. Each message has the event's `id`, its type as `event`, and as `data` the
/// event's JSON.
#[utoipa::path(
    get,
    path = "/api/tasks/{id}/events",
    tag = "events",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("Last-Event-ID" = Option<Uuid>, Header,
            description = "A stream goes on after this event"),
    ),
    responses(
        (status = 200, description = "The events, oldest first", content(
            (Timeline = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 204, description = "`Last-Event-ID` was the last one: there is nothing to come"),
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
        let stream = Stream::open(api, principal, Source::Task(id), last).await?;
        // 204 is what tells an EventSource not to come back.
        let nothing = || StatusCode::NO_CONTENT.into_response();
        return Ok(stream.map_or_else(nothing, Stream::into_response));
    }
    let events = api.tasks.timeline(principal.user_id, id).await.map_err(fault::store)?;
    let events = shown::found(events)?;
    if events.last().is_none_or(|event| event.kind == EventType::Deleted) {
        return Err(Problem::new(Code::TaskNotFound));
    }
    shown::json(events.len() * 384 + 16, &Timeline { events })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testing::Platform;

    #[tokio::test]
    async fn the_timeline_is_told_from_its_beginning() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        let id = platform.submit(&token).await;
        platform.finish(&token, id).await;
        let path = format!("/api/tasks/{id}/events");
        let answer = platform.get(&path).token(&token).header("accept", "*/*").send().await;
        let events = answer.json();
        let events = events["events"].as_array().expect("events");
        let told: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
        assert_eq!(told, ["created", "started", "finished"]);
        assert!(events.iter().all(|event| event["taskId"] == id.to_string()));
        assert_eq!((&events[1]["attempt"], &events[1]["worker"]), (&1.into(), &"worker-1".into()));
    }

    #[tokio::test]
    async fn the_last_event_is_named_by_its_id() {
        let platform = Platform::start().await;
        let token = platform.auth.sign_in();
        for path in ["/api/events".to_owned(), format!("/api/tasks/{}/events", uuid::Uuid::nil())] {
            for last in ["x", "7", "00000000-0000-0000-0000-000000000000"] {
                let asking = platform.get(&path).token(&token).header("last-event-id", last);
                assert_eq!(asking.send().await.fields(), ["Last-Event-ID"], "{path}: {last}");
            }
        }
    }
}
