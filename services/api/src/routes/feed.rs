//! `GET /api/events`: everything that happens to the principal's tasks.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use miniapp_http::Problem;
use miniapp_types::problem::Code;

use super::watch::LastEventId;
use crate::live::{Source, Stream};
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields];

/// The events of all tasks
///
/// A stream of everything that happens to the principal's tasks from now on, or after
/// `Last-Event-ID`. It ends with the principal's token. Where several processes serve the
/// platform, a stream that goes on may tell events of the second before again.
#[utoipa::path(
    get,
    path = "/api/events",
    tag = "events",
    params(("Last-Event-ID" = Option<Uuid>, Header, description = "Go on after this event")),
    responses((status = 200, description = "The stream", body = String,
        content_type = "text/event-stream"))
)]
pub(super) async fn feed(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    LastEventId(last): LastEventId,
) -> Result<Response, Problem> {
    let stream = Stream::open(api, principal, Source::Owner, last).await?;
    Ok(stream.map_or_else(|| StatusCode::NO_CONTENT.into_response(), Stream::into_response))
}
