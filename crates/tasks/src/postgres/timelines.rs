//! Reads timelines page by page. See [`super::read`] for the bounded ranges.

use jiff::SignedDuration;
use miniapp_postgres::Database;
use sqlx::Row as _;
use uuid::Uuid;

use crate::column_values::status;
use crate::engine::{EventPage, StoreError, TimelinePart};
use crate::following::Following;
use crate::row::Columns;
use crate::timeline;

/// How many pages are read together.
const PART_PAGES: i32 = 4;
/// How many of the newest pages are searched for an event. Older ones are found by their ids.
const SEARCHED_PAGES: i32 = 256;
/// How many pages of a timeline are read at first to find the events after a given one.
const FOLLOWING_PAGES: i32 = 32;
/// By how much the clocks of processes, of which ids are made, may differ.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(1);

pub(super) async fn part(
    database: &Database,
    id: Uuid,
    page: u32,
) -> Result<Option<TimelinePart>, StoreError> {
    // One statement, so that a page that is moved concurrently is not missed.
    const PART: &str = "SELECT owner, status, deleted, pages, CASE WHEN $2 < pages \
         THEN (SELECT string_agg(lines, '' ORDER BY page) FROM task_timeline_pages \
         WHERE task_id = $1 AND page >= $2 AND page < $2 + $3) END, \
         CASE WHEN $2 + $3 > pages THEN timeline ELSE '' END FROM tasks WHERE id = $1";
    let page = i32::try_from(page).unwrap_or(i32::MAX - PART_PAGES);
    let statement = || sqlx::query(PART).bind(id).bind(page).bind(PART_PAGES);
    let Some(row) = database.fetch_optional(statement).await? else { return Ok(None) };
    let (pages, older): (i32, Option<&str>) = (row.try_get(3)?, row.try_get(4)?);
    let parts = [older.unwrap_or_default(), row.try_get(5)?];
    let next_page = page + PART_PAGES;
    Ok(Some(TimelinePart {
        owner: row.try_get(0)?,
        status: status(row.try_get(1)?)?,
        deleted: row.try_get(2)?,
        next_page: u32::try_from(next_page).ok().filter(|_| next_page <= pages),
        events: parts
            .into_iter()
            .flat_map(|lines| timeline::decode(id, lines))
            .collect::<Result<_, _>>()?,
    }))
}

/// Finds the number of the first page that begins at or after the event `$event` of a task, by
/// binary search. It is the number of pages if none does.
macro_rules! first_later_page {
    ($task:literal, $pages:literal, $event:literal) => {
        concat!(
            "WITH RECURSIVE search (low, high) AS (SELECT 0, ",
            $pages,
            " UNION ALL SELECT CASE WHEN later THEN low ELSE middle + 1 END, \
             CASE WHEN later THEN middle ELSE high END FROM (\
             SELECT low, high, (low + high) / 2 AS middle, (SELECT substr(lines, 3, 36) >= ",
            $event,
            " COLLATE \"C\" FROM task_timeline_pages WHERE task_id = ",
            $task,
            " AND page = (low + high) / 2) AS later FROM search WHERE low < high) AS step) \
             SELECT max(low) FROM search"
        )
    };
}

pub(super) async fn page_before(
    database: &Database,
    id: Uuid,
    event: Uuid,
) -> Result<u32, StoreError> {
    const PAGE: &str = concat!(
        "SELECT coalesce((SELECT max(page) FROM ((SELECT page, lines FROM task_timeline_pages \
         WHERE task_id = $1 ORDER BY page DESC LIMIT $3) \
         UNION ALL SELECT pages, timeline FROM tasks WHERE id = $1) AS newest \
         WHERE strpos(lines, $2) > 0), greatest((",
        first_later_page!("$1", "(SELECT pages FROM tasks WHERE id = $1)", "$2"),
        ") - 1, 0))"
    );
    let event = event.to_string();
    let statement =
        || sqlx::query(PAGE).bind(id).bind(event.as_str()).bind(i64::from(SEARCHED_PAGES));
    let row = database.fetch_optional(statement).await?;
    let page: Option<i32> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(page.and_then(|page| u32::try_from(page).ok()).unwrap_or(0))
}

pub(super) async fn events_after(
    database: &Database,
    owner: Uuid,
    after: Uuid,
    limit: u32,
) -> Result<EventPage, StoreError> {
    let mut pages = FOLLOWING_PAGES;
    loop {
        if let Some(page) = read_after(database, owner, after, limit, pages).await? {
            return Ok(page);
        }
        pages = pages.saturating_mul(8);
    }
}

/// Reads at most `pages` pages of each timeline.
async fn read_after(
    database: &Database,
    owner: Uuid,
    after: Uuid,
    limit: u32,
    pages: i32,
) -> Result<Option<EventPage>, StoreError> {
    let since = Since::just_before(after);
    let first_event = since.id.to_string();
    let mut following = Following::new(after, limit);
    let statement = || {
        let statement = sqlx::query(TOUCHED).bind(owner).bind(since.microseconds);
        statement.bind(first_event.as_str()).bind(i64::from(pages))
    };
    database
        .for_each_row(statement, |row| {
            let mut next = Columns::new(row);
            let id = next.read()?;
            let (older, is_cut): (Option<&str>, bool) = (next.read()?, next.read()?);
            let older = older.unwrap_or_default();
            if is_cut {
                return following.add_incomplete(id, older, MAX_SKEW);
            }
            following.add(id, &[older, next.read()?])
        })
        .await?;
    Ok(following.finish())
}

/// Returns the timelines of an owner's tasks with events since the time `$2`, and the first
/// `$4` of the pages that may contain events after `$3`. One statement is one snapshot: no event
/// is returned without those committed before it.
///
/// The last event of a waiting task precedes its `ready_at`. Tasks delayed until later are
/// filtered by the event id in their last line.
const TOUCHED: &str = concat!(
    "WITH touched AS ( \
     SELECT id, pages, timeline FROM tasks WHERE owner = $1 AND ready_at >= $2 \
     AND (timeline = '' OR substr(split_part(timeline, E'\\n', -2), 3, 36) >= $3 COLLATE \"C\") \
     UNION ALL SELECT id, pages, timeline FROM tasks \
     WHERE owner = $1 AND lease_until >= 0 AND lease_until <= 9223372036854775807 \
     UNION ALL SELECT id, pages, timeline FROM tasks \
     WHERE owner = $1 AND finished_at >= $2) \
     SELECT id, CASE WHEN page < pages THEN (SELECT string_agg(lines, '' ORDER BY page) \
     FROM (SELECT * FROM task_timeline_pages AS part WHERE task_id = id AND part.page >= start.page \
     ORDER BY part.page LIMIT $4) AS part) END, page + $4 < pages, timeline FROM touched, \
     LATERAL (SELECT CASE WHEN pages > 0 \
     AND (timeline = '' OR substr(timeline, 3, 36) >= $3 COLLATE \"C\") THEN greatest((",
    first_later_page!("id", "pages", "$3"),
    ") - 1, 0) ELSE pages END AS page OFFSET 0) AS start"
);

/// The point in time from which timelines are read.
struct Since {
    microseconds: i64,
    /// The smallest event id of that time.
    id: Uuid,
}

impl Since {
    /// Returns a point shortly before `event`, whose id starts with its time. The next event
    /// of a task may have a smaller id, made by another process's clock, and a task's end
    /// time is taken before the event's id is made.
    fn just_before(event: Uuid) -> Self {
        let margin = i64::try_from(MAX_SKEW.as_millis()).unwrap_or(0);
        let (seconds, nanoseconds) = event.get_timestamp().map_or((0, 0), |at| at.to_unix());
        let seconds = i64::try_from(seconds).unwrap_or(0);
        let milliseconds = (seconds * 1000 + i64::from(nanoseconds / 1_000_000) - margin).max(0);
        let bits = u128::try_from(milliseconds).unwrap_or(0) << 80;
        Self { microseconds: milliseconds * 1000, id: Uuid::from_u128(bits) }
    }
}
