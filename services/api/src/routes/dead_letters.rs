//! `GET /api/dead-letters`: tasks that failed for good.

use axum::extract::State;
use axum::response::Response;
use contracts::fields::{Fields, FromFields};
use contracts::problem::Code;
use contracts::task::{Status, TaskPage};
use kit::http::{Problem, Query};
use tasks::Filter;

use super::page::Page;
use crate::state::Api;
use crate::token::Authorized;

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields, Code::Forbidden];

/// Which dead letters are wanted.
pub(super) struct Wanted(Page);

impl FromFields for Wanted {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self(Page::read(fields)))
    }
}

/// List dead letters
///
/// Everybody's failed tasks, newest first. For admins.
#[utoipa::path(
    get,
    path = "/api/dead-letters",
    tag = "admin",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "How many at most; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
    ),
    responses((status = 200, description = "A page of tasks", body = TaskPage))
)]
pub(super) async fn dead_letters(
    State(api): State<Api>,
    Authorized(caller): Authorized,
    Query(Wanted(page)): Query<Wanted>,
) -> Result<Response, Problem> {
    caller.must_be_admin()?;
    let filter = Filter { status: Some(Status::Failed), ..Filter::default() };
    page.of(filter, &api.tasks).await
}
