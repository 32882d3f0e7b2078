//! `GET /api/events`: streams the events of the caller's tasks.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use miniapp_http::Problem;
use miniapp_types::problem::Code;
use miniapp_types::task::Event;

use super::stream_headers::LastEventId;
use crate::live::{Source, Stream};
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::TooManyRequests];

/// The events of all tasks
///
/// Streams the events of all tasks of the caller from now on, or after `Last-Event-ID`. The
/// stream ends when the caller's token does. If several processes serve the platform, a
/// resumed stream may repeat events of the preceding second.
#[utoipa::path(
    get,
    path = "/api/events",
    operation_id = "stream_events",
    tag = "events",
    params(("Last-Event-ID" = Option<Uuid>, Header, description = "Resume after this event")),
    responses((status = 200, description = "The stream; each message is an event", body = Event,
        content_type = "text/event-stream"))
)]
pub(super) async fn feed(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    LastEventId(last): LastEventId,
) -> Result<Response, Problem> {
    let stream = api.live.open(principal, Source::Owner, last).await?;
    Ok(stream.map_or_else(|| StatusCode::NO_CONTENT.into_response(), Stream::into_response))
}
