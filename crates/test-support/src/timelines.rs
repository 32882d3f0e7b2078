//! Reads whole timelines, which services read in parts.

use miniapp_tasks::{Engine, StoreError, Tasks};
use miniapp_types::task::Event;
use uuid::Uuid;

/// Returns all events of a task, oldest first, or `None` if the task does not exist.
pub async fn stored(engine: &dyn Engine, id: Uuid) -> Result<Option<Vec<Event>>, StoreError> {
    let (mut events, mut page) = (Vec::new(), 0);
    loop {
        let Some(part) = engine.timeline(id, page).await? else { return Ok(None) };
        events.extend(part.events);
        let Some(next) = part.next_page else { return Ok(Some(events)) };
        page = next;
    }
}

/// Returns all events of a task of `owner`, oldest first, or `None` if the owner has no such
/// task.
pub async fn of_task(
    tasks: &Tasks,
    owner: Uuid,
    id: Uuid,
) -> Result<Option<Vec<Event>>, StoreError> {
    let (mut events, mut page) = (Vec::new(), 0);
    loop {
        let Some(part) = tasks.timeline(owner, id, page).await? else { return Ok(None) };
        events.extend(part.events);
        let Some(next) = part.next_page else { return Ok(Some(events)) };
        page = next;
    }
}

/// Returns all events of an owner's tasks after the event `after`, in pages of at most `limit`.
pub async fn following(
    engine: &dyn Engine,
    owner: Uuid,
    mut after: Uuid,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let mut events = Vec::new();
    loop {
        let page = engine.events_after(owner, after, limit).await?;
        events.extend(page.events);
        if page.is_complete {
            return Ok(events);
        }
        after = events.last().map_or(after, |event| event.id);
    }
}
