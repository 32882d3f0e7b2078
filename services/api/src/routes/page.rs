//! Pages of tasks.

use axum::response::Response;
use miniapp_http::Problem;
use miniapp_tasks::domain::TaskView;
use miniapp_tasks::{Filter, Task, Tasks};
use miniapp_types::page::{Page, cursor};
use serde::Serialize;

use super::{fault, shown};

/// A page whose tasks have more bytes than this is cut short: its limit is one for
/// people, this one is for memory, which a page takes until the slowest client has it.
const MOST_BYTES: u32 = 1 << 20;

/// [`miniapp_types::task::TaskPage`], written from what the store gave.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownPage<'a> {
    tasks: Vec<TaskView<'a>>,
    next_cursor: Option<String>,
}

/// The page that is wanted of the tasks that `filter` lets through.
pub(super) async fn of(filter: Filter, wanted: Page, tasks: &Tasks) -> Result<Response, Problem> {
    // One more tells whether there is a next page.
    let limit = wanted.limit + 1;
    let filter = Filter { before: wanted.before, limit, max_bytes: Some(MOST_BYTES), ..filter };
    let found = tasks.list(&filter).await.map_err(fault::store)?;
    let (count, size) = fitting(&found);
    let shown = count.min(wanted.limit as usize);
    let is_full = size > MOST_BYTES as usize;
    answer(&found[..shown], size, shown == found.len() && !is_full)
}

/// A page without tasks.
pub(super) fn empty() -> Result<Response, Problem> {
    answer(&[], 0, true)
}

/// How many of `tasks` a page has room for, the first in any case, and their bytes.
fn fitting(tasks: &[Task]) -> (usize, usize) {
    let mut size = 0;
    for (count, task) in tasks.iter().enumerate() {
        let with_this = size + shown::size(task);
        if count > 0 && with_this > MOST_BYTES as usize {
            return (count, size);
        }
        size = with_this;
    }
    (tasks.len(), size)
}

fn answer(tasks: &[Task], size: usize, is_last: bool) -> Result<Response, Problem> {
    let next_cursor = tasks.last().filter(|_| !is_last).map(|task| cursor(task.id));
    let tasks = tasks.iter().map(Task::view).collect();
    shown::json(size + 64, &ShownPage { tasks, next_cursor })
}
