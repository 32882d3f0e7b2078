use anyhow::{Context, Result, ensure};
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::Change;
use miniapp_tasks::{Command, Engine};
use miniapp_types::task::{Event, EventType};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::timelines::lengthen;
use super::{
    Processes, add, add_claimed, add_finished, apply, change, claim, fail, finish, progress,
};
use crate::timelines;

const MANY: u32 = 10_000;

/// Returns the events of `tasks`, ordered by id.
async fn events_of<'t>(
    engine: &dyn Engine,
    tasks: impl IntoIterator<Item = &'t Task>,
) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for task in tasks {
        events.extend(timelines::stored(engine, task.id).await?.context("no timeline")?);
    }
    events.sort_by_key(|event| event.id);
    Ok(events)
}

/// From every position, all later events are returned.
async fn check_pages(engine: &dyn Engine, owner: Uuid, expected: &[Event]) -> Result<()> {
    ensure!(timelines::following(engine, owner, Uuid::nil(), MANY).await? == expected, "not all");
    for (index, event) in expected.iter().enumerate() {
        let found = timelines::following(engine, owner, event.id, MANY).await?;
        let rest = &expected[index + 1..];
        ensure!(found == rest, "after {event:?}:\n  {found:?}\ninstead of\n  {rest:?}");
    }
    Ok(())
}

pub async fn events_after_returns_oldest_first([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let (first, second) = (add(&*engine, owner, 0).await?, add(&*engine, owner, 1).await?);
    add_finished(&*engine, Uuid::new_v4(), 1).await?;
    let second = apply(&*engine, &second, claim(&second), 2).await?;
    let first = apply(&*engine, &first, claim(&first), 3).await?;
    let first = apply(&*engine, &first, fail(&first, Some(60)), 4).await?;
    apply(&*engine, &second, progress(&second, "a quarter"), 5).await?;
    let expected = events_of(&*engine, [&first, &second]).await?;
    ensure!(expected.len() == 6);
    check_pages(&*engine, owner, &expected).await?;
    ensure!(timelines::following(&*engine, Uuid::new_v4(), Uuid::nil(), MANY).await?.is_empty());
    Ok(())
}

pub async fn events_after_returns_pages([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut tasks = Vec::new();
    for seconds in 0..20 {
        tasks.push(add_finished(&*engine, owner, seconds).await?);
        tasks.push(add_claimed(&*engine, owner, seconds).await?);
    }
    let expected = events_of(&*engine, &tasks).await?;
    let (mut found, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let page = engine.events_after(owner, after, 7).await?;
        ensure!(page.events.len() <= 7, "a page of {}", page.events.len());
        found.extend(page.events);
        if page.is_complete {
            break;
        }
        after = found.last().map_or(after, |event: &Event| event.id);
    }
    ensure!(found == expected, "the pages don't make the whole");
    Ok(())
}

pub async fn events_after_returns_final_events([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut tasks = Vec::new();
    for _ in 0..6 {
        tasks.push(add_claimed(&*engine, owner, 0).await?);
    }
    let ends = [
        finish(&tasks[0])?,
        fail(&tasks[1], None),
        Command::ExceedTtl { claim: tasks[2].state.claim },
        Command::Delete,
        Command::Cancel,
        Command::ExpireLease { version: tasks[5].state.version },
    ];
    for (seconds, (task, end)) in (10..).zip(tasks.iter_mut().zip(ends)) {
        *task = apply(&*engine, task, end, seconds).await?;
    }
    // Deleted some time after its end.
    tasks[0] = apply(&*engine, &tasks[0], Command::Delete, 100).await?;
    let expected = events_of(&*engine, &tasks).await?;
    ensure!(expected.len() == 6 * 3 + 1);
    check_pages(&*engine, owner, &expected).await
}

pub async fn events_after_includes_events_before_a_restart([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut task = add_finished(&*engine, owner, 0).await?;
    for seconds in [10, 20] {
        task = apply(&*engine, &task, Command::Restart, seconds).await?;
        check_pages(&*engine, owner, &events_of(&*engine, [&task]).await?).await?;
        task = apply(&*engine, &task, claim(&task), seconds + 1).await?;
        task = apply(&*engine, &task, fail(&task, None), seconds + 2).await?;
        check_pages(&*engine, owner, &events_of(&*engine, [&task]).await?).await?;
    }
    Ok(())
}

/// Ids of one instant differ in their random part, and final events of one instant are
/// returned in that order.
pub async fn events_after_returns_all_events_of_one_instant([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(add_finished(&*engine, owner, 5).await?);
    }
    check_pages(&*engine, owner, &events_of(&*engine, &tasks).await?).await
}

/// Stores a finished task with hundreds of long events.
async fn add_long(engine: &dyn Engine, owner: Uuid) -> Result<Task> {
    let mut task = add_claimed(engine, owner, 0).await?;
    let (from_version, mut events) = (task.state.version, Vec::new());
    for number in 0..300 {
        let message = format!("step {number}, {}", "and on ".repeat(30));
        let step = change(&task, progress(&task, &message), number)?;
        task = step.task;
        events.extend(step.events);
        if events.len() == 50 {
            let part = Change {
                task: task.clone(),
                from_version: from_version + number - 49,
                events: std::mem::take(&mut events),
            };
            ensure!(engine.write(&[], &[part]).await?.changes == [true]);
        }
    }
    apply(engine, &task, finish(&task)?, 300).await
}

pub async fn events_after_returns_a_very_long_timeline([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let task = add_long(&*engine, owner).await?;
    let expected = events_of(&*engine, [&task]).await?;
    ensure!(expected.len() == 303);
    ensure!(expected.last().is_some_and(|event| event.kind == EventType::Finished));
    check_pages(&*engine, owner, &expected).await
}

pub async fn concurrent_readers_get_long_timelines([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let tasks = [add_long(&*engine, owner).await?, add_long(&*engine, owner).await?];
    let expected = events_of(&*engine, &tasks).await?;
    let mut readers = JoinSet::new();
    for _ in 0..20 {
        let engine = engine.clone();
        readers
            .spawn(async move { timelines::following(&*engine, owner, Uuid::nil(), MANY).await });
    }
    while let Some(read) = readers.join_next().await {
        ensure!(read?? == expected, "one read something else");
    }
    Ok(())
}

/// Timelines that are too long to be read at once are read in parts.
pub async fn events_after_merges_long_timelines([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let mut task = add_claimed(&*engine, owner, 0).await?;
        lengthen(&*engine, &mut task, 600).await?;
        tasks.push(task);
    }
    tasks.push(add_finished(&*engine, owner, 300).await?);
    let expected = events_of(&*engine, &tasks).await?;
    for (place, limit) in [(0, 100), (0, MANY), (expected.len() / 2, MANY), (1100, 7)] {
        let after = expected[place].id;
        let found = timelines::following(&*engine, owner, after, limit).await?;
        let rest = &expected[place + 1..];
        ensure!(found.len() == rest.len(), "{} events of {}", found.len(), rest.len());
        ensure!(found == rest, "other events after {place}");
    }
    let page = engine.events_after(owner, expected[0].id, MANY).await?;
    let bytes = serde_json::to_string(&page.events)?.len();
    ensure!(bytes < 1 << 20 && !page.is_complete, "a page of {bytes} bytes");
    Ok(())
}
