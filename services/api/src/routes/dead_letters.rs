//! `GET /api/dead-letters`: lists failed tasks.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::{Problem, Query};
use miniapp_tasks::Filter;
use miniapp_types::page::Page;
use miniapp_types::problem::Code;
use miniapp_types::task::{Status, TaskPage};

use super::page::{self, Owners};
use crate::state::Api;
use crate::token::AuthUser;

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::Forbidden];

/// List dead letters
///
/// Returns the failed tasks of all accounts with their `owner`, newest first. Requires the role
/// `admin`.
#[utoipa::path(
    get,
    path = "/api/dead-letters",
    operation_id = "list_dead_letters",
    tag = "admin",
    params(Page),
    responses((status = 200, description = "A page of tasks", body = TaskPage))
)]
pub(super) async fn dead_letters(
    State(api): State<Api>,
    AuthUser(principal): AuthUser,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    principal.require_admin()?;
    let filter = Filter { status: Some(Status::Failed), ..Filter::default() };
    page::respond(filter, page, Owners::Shown, &api).await
}
