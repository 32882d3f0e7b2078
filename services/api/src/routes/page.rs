//! Pages of tasks.

use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contracts::fields::Fields;
use kit::http::Problem;
use serde::Serialize;
use tasks::domain::Shown;
use tasks::{Filter, Task, Tasks};
use uuid::Uuid;

use super::{fault, shown};

const LONGEST: u32 = 200;
const USUAL: u32 = 50;
/// How many tasks are read at a time: a usual page at once.
const AT_A_TIME: u32 = USUAL + 1;
/// A page whose tasks have more bytes than this is cut short: its limit is one for
/// people, this one is for memory, which a page takes until the slowest client has it.
const MOST_BYTES: usize = 1 << 20;

/// Which page is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    limit: u32,
    before: Option<Uuid>,
}

/// [`contracts::task::TaskPage`], written from what the store gave.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownPage<'a> {
    tasks: Vec<Shown<'a>>,
    next_cursor: Option<String>,
}

impl Page {
    /// Reads `limit` and `cursor`.
    pub fn read(fields: &mut Fields) -> Self {
        let limit = fields.optional(|fields| fields.integer("limit", 1..=LONGEST), "limit");
        let cursor = fields.optional(|fields| fields.text("cursor", 1..=500), "cursor");
        let before = cursor.and_then(|cursor| {
            let before = position(&cursor);
            if before.is_none() {
                fields.fault("cursor", "must be the nextCursor of a page");
            }
            before
        });
        Self { limit: limit.unwrap_or(USUAL), before }
    }

    /// This page of the tasks that `filter` lets through.
    pub async fn of(self, filter: Filter, tasks: &Tasks) -> Result<Response, Problem> {
        // One more tells whether there is a next page.
        let wanted = self.limit + 1;
        let (mut found, mut before, mut size): (Vec<Task>, _, _) = (Vec::new(), self.before, 0);
        let mut missing = wanted;
        while missing > 0 && size < MOST_BYTES {
            let limit = missing.min(AT_A_TIME);
            let filter = Filter { before, limit, ..filter.clone() };
            let some = tasks.list(&filter).await.map_err(fault::store)?;
            if some.len() < limit as usize {
                missing = 0;
            } else {
                missing -= limit;
            }
            size += some.iter().map(shown::size).sum::<usize>();
            before = some.last().map(|task| task.id);
            found.extend(some);
        }
        let (count, size) = fitting(&found);
        let shown = count.min(self.limit as usize);
        let is_last = missing == 0 && shown == found.len();
        answer(&found[..shown], size, is_last)
    }

    /// A page without tasks.
    pub fn empty() -> Result<Response, Problem> {
        answer(&[], 0, true)
    }
}

/// How many of `tasks` a page has room for, the first in any case, and their bytes.
fn fitting(tasks: &[Task]) -> (usize, usize) {
    let mut size = 0;
    for (count, task) in tasks.iter().enumerate() {
        let with_this = size + shown::size(task);
        if count > 0 && with_this > MOST_BYTES {
            return (count, size);
        }
        size = with_this;
    }
    (tasks.len(), size)
}

fn answer(tasks: &[Task], size: usize, is_last: bool) -> Result<Response, Problem> {
    let next_cursor = tasks.last().filter(|_| !is_last).map(|task| cursor(task.id));
    let tasks = tasks.iter().map(Task::shown).collect();
    shown::json(size + 64, &ShownPage { tasks, next_cursor })
}

/// Opaque to clients, so that it can become something else.
fn cursor(last: Uuid) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last.as_bytes())
}

fn position(cursor: &str) -> Option<Uuid> {
    Uuid::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}
