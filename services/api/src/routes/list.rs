//! `GET /api/tasks`: finds the caller's tasks.

use axum::extract::State;
use axum::response::Response;
use contracts::fields::{Fields, FromFields};
use contracts::problem::Code;
use contracts::task::{Status, TaskPage};
use kit::http::{Problem, Query};
use tasks::Filter;
use uuid::Uuid;

use super::page::Page;
use crate::state::Api;
use crate::token::Authorized;

/// Longer values of a filter are told to be too long, not to match nothing.
const LONGEST: usize = 500;

pub(super) const PROBLEMS: &[Code] = &[Code::InvalidFields];

/// Which tasks are wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    id: Option<String>,
    status: Option<Status>,
    kind: Option<String>,
    page: Page,
}

impl FromFields for Wanted {
    fn read(fields: &mut Fields) -> Option<Self> {
        let id = fields.optional(|fields| fields.text("id", 1..=LONGEST), "id");
        let kind = fields.optional(|fields| fields.text("kind", 1..=LONGEST), "kind");
        let status = fields.optional(|fields| fields.text("status", 1..=LONGEST), "status");
        let status = status.and_then(|status| {
            let read = status.parse().ok();
            if read.is_none() {
                let message = "must be Awaiting, Executing, Finished, Canceled or Failed";
                fields.fault("status", message);
            }
            read
        });
        let page = Page::read(fields);
        Some(Self { id, status, kind, page })
    }
}

/// List tasks
///
/// The caller's tasks, newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/api/tasks",
    tag = "tasks",
    params(
        ("id" = Option<String>, Query, description = "Only the task with this id"),
        ("status" = Option<Status>, Query, description = "Only tasks in this status"),
        ("kind" = Option<String>, Query, description = "Only tasks of this kind"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "How many at most; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
    ),
    responses((status = 200, description = "A page of tasks", body = TaskPage))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Authorized(caller): Authorized,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let Wanted { id, status, kind, page } = wanted;
    let Ok(id) = id.map(|id| id.parse::<Uuid>()).transpose() else {
        // What is no id is no task's id.
        return page.empty();
    };
    let filter = Filter { owner: Some(caller.user_id), id, status, kind, ..Filter::default() };
    page.of(filter, &api.tasks).await
}
