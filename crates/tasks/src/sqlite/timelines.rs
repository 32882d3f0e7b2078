//! Reads timelines page by page.

use futures_util::TryStreamExt;
use jiff::SignedDuration;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use crate::column_values::status;
use crate::engine::{EventPage, StoreError, TimelinePart};
use crate::following::Following;
use crate::timeline;

/// How many of the newest pages are searched for an event. Older ones are found by their ids.
const SEARCHED_PAGES: i64 = 64;
/// How many pages of a timeline are read at first to find the events after a given one.
const FOLLOWING_PAGES: i64 = 8;

pub(super) async fn part(
    pool: &SqlitePool,
    id: Uuid,
    page: u32,
) -> Result<Option<TimelinePart>, StoreError> {
    const PART: &str = "SELECT owner, status, deleted, pages, CASE WHEN ?2 < pages \
         THEN (SELECT lines FROM task_timeline_pages WHERE task_id = ?1 AND page = ?2) \
         ELSE timeline END FROM tasks WHERE id = ?1";
    let Some(row) = sqlx::query(PART).bind(id).bind(page).fetch_optional(pool).await? else {
        return Ok(None);
    };
    let (pages, lines): (u32, Option<&str>) = (row.try_get(3)?, row.try_get(4)?);
    Ok(Some(TimelinePart {
        owner: row.try_get(0)?,
        status: status(row.try_get(1)?)?,
        deleted: row.try_get(2)?,
        next_page: (page < pages).then_some(page + 1),
        events: timeline::decode(id, lines.unwrap_or_default()).collect::<Result<_, _>>()?,
    }))
}

/// Finds the number of the first page that begins after the event `?2` of the task `?1`, by
/// binary search. It is the number of pages if none does.
macro_rules! first_later_page {
    () => {
        "WITH RECURSIVE search (low, high) AS (\
         SELECT 0, pages FROM tasks WHERE id = ?1 UNION ALL \
         SELECT iif(substr(lines, 3, 36) > ?2, low, (low + high) / 2 + 1), \
         iif(substr(lines, 3, 36) > ?2, (low + high) / 2, high) FROM search \
         LEFT JOIN task_timeline_pages ON task_id = ?1 AND page = (low + high) / 2 \
         WHERE low < high) SELECT max(low) FROM search"
    };
}

pub(super) async fn page_before(
    pool: &SqlitePool,
    id: Uuid,
    event: Uuid,
) -> Result<u32, StoreError> {
    const PAGE: &str = concat!(
        "SELECT coalesce((SELECT max(page) FROM (SELECT * FROM (SELECT page, lines \
         FROM task_timeline_pages WHERE task_id = ?1 ORDER BY page DESC LIMIT ?3) \
         UNION ALL SELECT pages, timeline FROM tasks WHERE id = ?1) \
         WHERE instr(lines, ?2) > 0), (",
        first_later_page!(),
        ") - 1, 0)"
    );
    let query = sqlx::query_scalar::<_, i64>(PAGE).bind(id).bind(event.to_string());
    let page = query.bind(SEARCHED_PAGES).fetch_one(pool).await?;
    Ok(u32::try_from(page).unwrap_or(0))
}

pub(super) async fn events_after(
    pool: &SqlitePool,
    owner: Uuid,
    after: Uuid,
    limit: u32,
) -> Result<EventPage, StoreError> {
    let mut pages = FOLLOWING_PAGES;
    loop {
        if let Some(page) = read_after(pool, owner, after, limit, pages).await? {
            return Ok(page);
        }
        pages *= 8;
    }
}

/// Reads at most `pages` pages of each timeline.
async fn read_after(
    pool: &SqlitePool,
    owner: Uuid,
    after: Uuid,
    limit: u32,
    pages: i64,
) -> Result<Option<EventPage>, StoreError> {
    // Unfinished tasks, and tasks that ended since the event, whose id starts with its time.
    const TOUCHED: &str = "SELECT id, pages, timeline FROM tasks \
         WHERE owner = ?1 AND ready_at IS NOT NULL \
         UNION ALL SELECT id, pages, timeline FROM tasks \
         WHERE +owner = ?1 AND lease_until IS NOT NULL \
         UNION ALL SELECT id, pages, timeline FROM tasks \
         WHERE owner = ?1 AND status IN (2, 3, 4) AND finished_at >= ?2";
    let (seconds, nanos) = after.get_timestamp().map_or((0, 0), |at| at.to_unix());
    let since = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
        + i64::from(nanos / 1_000);
    let mut following = Following::new(after, limit);
    let mut long: Vec<Uuid> = Vec::new();
    // One snapshot: no event is returned without those committed before it.
    let mut snapshot = pool.begin().await?;
    let mut rows = sqlx::query(TOUCHED).bind(owner).bind(since).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let (id, stored): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
        let lines: &str = row.try_get(2)?;
        if stored > 0 && timeline::id_of(lines).is_none_or(|first| first > after) {
            long.push(id);
        } else {
            following.add(id, &[lines])?;
        }
    }
    drop(rows);
    for id in long {
        add_long(&mut snapshot, &mut following, id, after, pages).await?;
    }
    Ok(following.finish())
}

/// Adds the events of at most `pages` pages of a timeline.
async fn add_long(
    connection: &mut SqliteConnection,
    following: &mut Following,
    id: Uuid,
    after: Uuid,
    pages: i64,
) -> Result<(), StoreError> {
    const FIRST: &str = concat!("SELECT max((", first_later_page!(), ") - 1, 0)");
    const LINES: &str = "SELECT lines FROM (\
         SELECT * FROM (SELECT page, lines FROM task_timeline_pages \
         WHERE task_id = ?1 AND page >= ?2 ORDER BY page LIMIT ?3) \
         UNION ALL SELECT pages, timeline FROM tasks WHERE id = ?1 AND pages < ?2 + ?3) \
         ORDER BY page";
    const IS_CUT: &str = "SELECT pages >= ?2 + ?3 FROM tasks WHERE id = ?1";
    let first = sqlx::query_scalar(FIRST).bind(id).bind(after.to_string());
    let first: i64 = first.fetch_one(&mut *connection).await?;
    let query = sqlx::query_scalar::<_, String>(LINES).bind(id).bind(first).bind(pages);
    let parts = query.fetch_all(&mut *connection).await?;
    let is_cut = sqlx::query_scalar(IS_CUT).bind(id).bind(first).bind(pages);
    if is_cut.fetch_one(connection).await? {
        return following.add_incomplete(id, &parts.concat(), SignedDuration::ZERO);
    }
    following.add(id, &parts.iter().map(String::as_str).collect::<Vec<_>>())
}
