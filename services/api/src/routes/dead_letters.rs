//! `GET /api/dead-letters`: tasks that failed for good.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::{Problem, Query, require_admin};
use miniapp_tasks::Filter;
use miniapp_types::page::Page;
use miniapp_types::problem::Code;
use miniapp_types::task::{Status, TaskPage};

use super::page;
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::Forbidden];

/// List dead letters
///
/// Everybody's failed tasks, newest first. For admins.
#[utoipa::path(
    get,
    path = "/api/dead-letters",
    tag = "admin",
    params(Page),
    responses((status = 200, description = "A page of tasks", body = TaskPage))
)]
pub(super) async fn dead_letters(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    Query(wanted): Query<Page>,
) -> Result<Response, Problem> {
    require_admin(principal.is_admin)?;
    let filter = Filter { status: Some(Status::Failed), ..Filter::default() };
    page::of(filter, wanted, &api.tasks).await
}
