//! Pages of tasks.

use axum::response::Response;
use miniapp_http::Problem;
use miniapp_tasks::domain::TaskView;
use miniapp_tasks::{Filter, Task};
use miniapp_types::page::{Page, cursor};
use serde::Serialize;

use super::response;
use crate::error::store_problem;
use crate::state::Api;

/// Limits the memory of a page, which is held until the slowest client has received it.
/// Larger pages are cut short.
const MAX_BYTES: u32 = 1 << 20;

/// Serializes as [`miniapp_types::task::TaskPage`], without copying the tasks.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownPage<'a> {
    tasks: Vec<TaskView<'a>>,
    next_cursor: Option<String>,
}

/// Whether a page names the owner of each task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owners {
    Hidden,
    Shown,
}

/// Returns the requested page of the tasks that match `filter`.
pub(super) async fn respond(
    filter: Filter,
    page: Page,
    owners: Owners,
    api: &Api,
) -> Result<Response, Problem> {
    // One more shows whether there is a next page.
    let limit = page.limit + 1;
    let filter = Filter { before: page.before, limit, max_bytes: Some(MAX_BYTES), ..filter };
    let mut found = api.tasks.list(&filter).await.map_err(store_problem)?;
    let explained = api.kinds.explain_waits(&mut found, api.clock.now(), &api.tasks).await;
    explained.map_err(store_problem)?;
    let (count, size) = fitting(&found);
    let shown = count.min(page.limit as usize);
    let is_full = size > MAX_BYTES as usize;
    build(&found[..shown], size, owners, shown == found.len() && !is_full)
}

/// Returns a page without tasks.
pub(super) fn empty() -> Result<Response, Problem> {
    build(&[], 0, Owners::Hidden, true)
}

/// Returns how many of `tasks` fit into a page, at least one, and their size.
fn fitting(tasks: &[Task]) -> (usize, usize) {
    let mut size = 0;
    for (count, task) in tasks.iter().enumerate() {
        let with_this = size + response::size(task);
        if count > 0 && with_this > MAX_BYTES as usize {
            return (count, size);
        }
        size = with_this;
    }
    (tasks.len(), size)
}

fn build(tasks: &[Task], size: usize, owners: Owners, is_last: bool) -> Result<Response, Problem> {
    let next_cursor = tasks.last().filter(|_| !is_last).map(|task| cursor(task.id));
    let view = match owners {
        Owners::Hidden => Task::view,
        Owners::Shown => Task::view_with_owner,
    };
    let tasks = tasks.iter().map(view).collect();
    response::json(size + 64, &ShownPage { tasks, next_cursor })
}
