use anyhow::{Context, Result, ensure};
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::Change;
use miniapp_tasks::{Command, Engine};
use miniapp_types::task::Event;
use uuid::Uuid;

use super::{
    Processes, add_claimed, change, claim, fail, finish, insert, is_stored, new_task, progress,
};
use crate::timelines;

async fn timeline(engine: &dyn Engine, id: Uuid) -> Result<Vec<Event>> {
    timelines::stored(engine, id).await?.context("no timeline")
}

/// Writes a change and records its events.
async fn note(
    engine: &dyn Engine,
    task: &mut Task,
    change: Change,
    recorded: &mut Vec<Event>,
) -> Result<()> {
    let written = engine.write(&[], std::slice::from_ref(&change)).await?;
    ensure!(written.changes == [true], "a change was not stored");
    *task = change.task;
    recorded.extend(change.events);
    Ok(())
}

pub async fn timeline_returns_all_events_in_order([engine, other]: Processes) -> Result<()> {
    let mut task = new_task(Uuid::new_v4(), 0)?;
    let accepted = insert(&task, None);
    engine.write(std::slice::from_ref(&accepted), &[]).await?;
    let mut recorded = vec![accepted.event];
    let steps: [fn(&Task) -> Result<Command>; 7] = [
        |task| Ok(claim(task)),
        |task| Ok(progress(task, "two\nlines, \"quoted\" \u{1F980}")),
        |task| Ok(fail(task, Some(5))),
        |task| Ok(claim(task)),
        finish,
        |_| Ok(Command::Restart),
        |_| Ok(Command::Delete),
    ];
    for (seconds, command) in (1..).zip(steps) {
        let change = change(&task, command(&task)?, seconds)?;
        note(&*engine, &mut task, change, &mut recorded).await?;
        for engine in [&engine, &other] {
            let found = timeline(&**engine, task.id).await?;
            ensure!(found == recorded, "found\n  {found:?}\nwhere there should be\n  {recorded:?}");
        }
    }
    Ok(())
}

pub async fn timeline_of_a_missing_task_is_none([engine, _]: Processes) -> Result<()> {
    ensure!(engine.timeline(Uuid::new_v4(), 0).await?.is_none());
    Ok(())
}

/// Adds kilobytes of events per change until they exceed what a row may contain.
async fn grow(engine: &dyn Engine, task: &mut Task, recorded: &mut Vec<Event>) -> Result<()> {
    for round in 0..150 {
        let mut events = Vec::new();
        let from_version = task.state.version;
        for number in 0..10 {
            let message = format!("step {number} of round {round}, {}", "and on ".repeat(30));
            let step = change(task, progress(task, &message), round)?;
            *task = step.task;
            events.extend(step.events);
        }
        let combined = Change { task: task.clone(), from_version, events };
        note(engine, task, combined, recorded).await?;
    }
    Ok(())
}

pub async fn very_long_timeline_is_complete([engine, other]: Processes) -> Result<()> {
    let mut task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let neighbour = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let mut recorded = timeline(&*engine, task.id).await?;
    grow(&*engine, &mut task, &mut recorded).await?;
    for engine in [&engine, &other] {
        let found = timeline(&**engine, task.id).await?;
        ensure!(found.len() == recorded.len(), "{} events of {}", found.len(), recorded.len());
        ensure!(found == recorded, "the events are not the same or not in order");
    }
    // The last events, deletion included.
    for command in [finish(&task)?, Command::Restart, Command::Delete] {
        let change = change(&task, command, 200)?;
        note(&*engine, &mut task, change, &mut recorded).await?;
        is_stored(&*engine, &task).await?;
    }
    ensure!(timeline(&*engine, task.id).await? == recorded, "the end is not in order");
    ensure!(timeline(&*engine, neighbour.id).await?.len() == 2, "a neighbour got some");
    Ok(())
}

/// Reads of a growing timeline return a prefix without gaps.
pub async fn reads_of_a_growing_timeline_have_no_gaps([engine, other]: Processes) -> Result<()> {
    let mut task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let id = task.id;
    let mut recorded = timeline(&*engine, id).await?;
    let reader = tokio::spawn(async move {
        let mut known = Vec::new();
        while !known.last().is_some_and(|event: &Event| event.status.is_terminal()) {
            let found = timeline(&*other, id).await?;
            ensure!(found.starts_with(&known), "{} events, then {}", known.len(), found.len());
            known = found;
        }
        Ok(known)
    });
    grow(&*engine, &mut task, &mut recorded).await?;
    let change = change(&task, finish(&task)?, 200)?;
    note(&*engine, &mut task, change, &mut recorded).await?;
    ensure!(reader.await?? == recorded, "a hole in the whole");
    Ok(())
}

/// Adds events of more than a kilobyte, a second apart.
pub(super) async fn lengthen(engine: &dyn Engine, task: &mut Task, events: u64) -> Result<()> {
    let text = "and on ".repeat(200);
    let first = task.state.version;
    for number in (0..events).step_by(10) {
        let (mut added, from_version) = (Vec::new(), task.state.version);
        for number in number..number + 10 {
            let step = change(task, progress(task, &text), first + number)?;
            *task = step.task;
            added.extend(step.events);
        }
        let combined = Change { task: task.clone(), from_version, events: added };
        ensure!(engine.write(&[], &[combined]).await?.changes == [true], "not stored");
    }
    Ok(())
}

/// However long a timeline is, a part of it is a frame of a stream.
pub async fn parts_of_a_long_timeline_are_small([engine, _]: Processes) -> Result<()> {
    let mut task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    lengthen(&*engine, &mut task, 400).await?;
    let (mut parts, mut page) = (0, Some(0));
    while let Some(next) = page {
        let part = engine.timeline(task.id, next).await?.context("no timeline")?;
        let bytes = serde_json::to_string(&part.events)?.len();
        ensure!(bytes < 64 * 1024, "a part of {bytes} bytes");
        ensure!(part.owner == task.owner && part.status == task.state.status && !part.deleted);
        page = part.next_page;
        parts += 1;
    }
    ensure!(parts > 8, "{parts} parts");
    Ok(())
}

/// A stream resumes near its last event, wherever that is.
pub async fn page_before_an_event_is_near([engine, _]: Processes) -> Result<()> {
    let mut task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    lengthen(&*engine, &mut task, 1500).await?;
    let events = timeline(&*engine, task.id).await?;
    let places = (0..events.len()).step_by(61).chain(events.len() - 30..events.len());
    for place in places {
        let page = engine.page_before(task.id, events[place].id).await?;
        let part = engine.timeline(task.id, page).await?.context("no timeline")?;
        let first = part.events.first().or(events.last()).context("no events")?.id;
        let begin = events.iter().position(|event| event.id == first).context("unknown")?;
        ensure!(begin <= place + 1, "from {begin} on after {place}");
        ensure!(place <= begin + 60, "from {begin} on after {place}");
    }
    // Ids of other tasks are compared by time.
    let id = |seconds| miniapp_runtime::clock::id_at(super::at(seconds));
    ensure!(engine.page_before(task.id, Uuid::nil()).await? == 0);
    let middle = engine.page_before(task.id, id(700)).await?;
    let last = engine.page_before(task.id, id(1_000_000)).await?;
    ensure!(0 < middle && middle < last, "{middle} and {last}");
    ensure!(engine.page_before(Uuid::new_v4(), id(5)).await? == 0);
    Ok(())
}
