use anyhow::{Context, Result, ensure};
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::Change;
use miniapp_tasks::{Command, Engine};
use miniapp_types::task::Event;
use uuid::Uuid;

use super::{
    Processes, add_claimed, change, claim, fail, finish, insert, is_stored, new_task, progress,
};

async fn timeline(engine: &dyn Engine, id: Uuid) -> Result<Vec<Event>> {
    engine.timeline(id).await?.context("no timeline")
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
    ensure!(engine.timeline(Uuid::new_v4()).await?.is_none());
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
