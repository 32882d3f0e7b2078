use std::collections::HashSet;

use anyhow::{Result, ensure};
use miniapp_runtime::clock::id_at;
use miniapp_tasks::domain::{Spec, Task};
use miniapp_tasks::{Command, Engine, Filter};
use miniapp_types::task::Status;
use uuid::Uuid;

use super::{
    Processes, add, add_claimed, add_finished, apply, at, claim, fail, ids, raw, same, spec, store,
    store_all,
};

/// Returns a filter for all tasks, in one page.
fn all() -> Filter {
    Filter { limit: 1000, ..Filter::default() }
}

async fn list(engine: &dyn Engine, filter: &Filter) -> Result<Vec<Uuid>> {
    Ok(ids(&engine.list(filter).await?))
}

pub async fn list_returns_newest_first([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    ensure!(engine.list(&all()).await?.is_empty(), "an empty store lists something");
    let mut added = Vec::new();
    // Out of order, and some at the same time.
    for seconds in [3, 1, 2, 2, 9] {
        added.push(add(&*engine, owner, seconds).await?);
    }
    added.sort_by_key(|task| std::cmp::Reverse(task.id));
    let listed = engine.list(&all()).await?;
    ensure!(listed.len() == added.len(), "listed {} of {}", listed.len(), added.len());
    for (found, expected) in listed.iter().zip(&added) {
        same(found, expected)?;
    }
    Ok(())
}

pub async fn list_stops_at_max_bytes([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut added = Vec::new();
    // 100,002 bytes each, which are stored out of line; one task has twice as much.
    for seconds in 0..6 {
        let data = raw(&format!("\"{}\"", "x".repeat(100_000)))?;
        let spec = Spec { data: data.clone(), ..spec("echo", seconds)? };
        let mut task = Task::new(id_at(at(seconds)), owner, spec, None);
        store(&*engine, &task).await?;
        if seconds == 4 {
            task = apply(&*engine, &task, claim(&task), seconds).await?;
            let finish = Command::Finish { claim: task.state.claim, result: data.into() };
            task = apply(&*engine, &task, finish, seconds).await?;
        }
        added.push(task.id);
    }
    added.reverse();
    for (limit, enough, count) in [
        (10, None, 6),
        (10, Some(u32::MAX), 6),
        (10, Some(1), 1),
        (10, Some(100_002), 1),
        (10, Some(100_003), 2),
        (10, Some(300_006), 2),
        (10, Some(300_007), 3),
        (2, Some(1_000_000), 2),
        (10, Some(700_014), 6),
        (10, Some(600_012), 5),
    ] {
        for owner in [None, Some(owner)] {
            let listed =
                list(&*engine, &Filter { owner, limit, max_bytes: enough, ..all() }).await?;
            ensure!(listed == added[..count], "{limit} {enough:?}: {} listed", listed.len());
        }
    }
    Ok(())
}

pub async fn list_returns_pages([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut expected = Vec::new();
    for seconds in 0..25 {
        expected.push(add(&*engine, owner, seconds).await?.id);
        add(&*engine, Uuid::new_v4(), seconds).await?;
    }
    expected.reverse();
    let mut filter = Filter { owner: Some(owner), limit: 10, ..Filter::default() };
    let mut listed = Vec::new();
    loop {
        let page = list(&*engine, &filter).await?;
        ensure!(page.len() <= 10, "a page of {}", page.len());
        filter.before = page.last().copied();
        listed.extend(page);
        if filter.before.is_none() {
            break;
        }
        // Tasks added in the meantime are newer and do not shift the pages.
        add(&*engine, owner, 100).await?;
    }
    ensure!(listed == expected, "the pages don't make the whole");
    ensure!(list(&*engine, &Filter { limit: 0, ..all() }).await?.is_empty());
    Ok(())
}

pub async fn list_applies_every_filter([engine, _]: Processes) -> Result<()> {
    let owners = [Uuid::new_v4(), Uuid::new_v4()];
    let mut tasks: Vec<Task> = Vec::new();
    for (seconds, owner) in (0..).zip(owners) {
        tasks.push(add(&*engine, owner, seconds).await?);
        tasks.push(add_claimed(&*engine, owner, seconds).await?);
        tasks.push(add_finished(&*engine, owner, seconds).await?);
        let task = add(&*engine, owner, seconds).await?;
        tasks.push(apply(&*engine, &task, Command::Cancel, seconds).await?);
        let task = add_claimed(&*engine, owner, seconds).await?;
        tasks.push(apply(&*engine, &task, fail(&task, None), seconds).await?);
        let task = add_claimed(&*engine, owner, seconds).await?;
        tasks.push(apply(&*engine, &task, fail(&task, Some(60)), seconds).await?);
        let other = Task::new(id_at(at(seconds)), owner, spec("other", seconds)?, None);
        store(&*engine, &other).await?;
        tasks.push(other);
    }
    let missing = Uuid::new_v4();
    let statuses =
        [Status::Awaiting, Status::Executing, Status::Finished, Status::Canceled, Status::Failed];
    let one_of = |options: &[Uuid]| -> Vec<Option<Uuid>> {
        std::iter::once(None).chain(options.iter().copied().map(Some)).collect()
    };
    let some_ids = [tasks[1].id, tasks[12].id, missing];
    for owner in one_of(&[owners[0], owners[1], missing]) {
        for id in one_of(&some_ids) {
            for status in std::iter::once(None).chain(statuses.map(Some)) {
                for kind in [None, Some("echo"), Some("other"), Some("missing")] {
                    let kind = kind.map(str::to_owned);
                    let before = Some(tasks[9].id).filter(|_| id.is_none() && kind.is_some());
                    let filter = Filter { owner, id, status, kind, before, ..all() };
                    let found: HashSet<Uuid> = list(&*engine, &filter).await?.into_iter().collect();
                    let expected: HashSet<Uuid> =
                        tasks.iter().filter(|task| passes(task, &filter)).map(|t| t.id).collect();
                    ensure!(found == expected, "{filter:?}: {} found", found.len());
                }
            }
        }
    }
    Ok(())
}

fn passes(task: &Task, filter: &Filter) -> bool {
    filter.owner.is_none_or(|owner| task.owner == owner)
        && filter.id.is_none_or(|id| task.id == id)
        && filter.status.is_none_or(|status| task.state.status == status)
        && filter.kind.as_ref().is_none_or(|kind| task.spec.kind == *kind)
        && filter.before.is_none_or(|before| task.id < before)
}

pub async fn list_omits_deleted_tasks([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let kept = add(&*engine, owner, 0).await?;
    for task in [
        add(&*engine, owner, 1).await?,
        add_claimed(&*engine, owner, 1).await?,
        add_finished(&*engine, owner, 1).await?,
    ] {
        let removed = apply(&*engine, &task, Command::Delete, 2).await?;
        let only = Filter { id: Some(removed.id), ..all() };
        ensure!(engine.list(&only).await?.is_empty(), "listed by its id");
        let status = Filter { status: Some(removed.state.status), ..all() };
        ensure!(engine.list(&status).await?.is_empty(), "listed by its status");
        super::is_stored(&*engine, &removed).await?;
    }
    ensure!(list(&*engine, &Filter { owner: Some(owner), ..all() }).await? == [kept.id]);
    Ok(())
}

pub async fn ids_by_owner_returns_the_owners_tasks([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let tasks = (0..50).map(|_| super::new_task(owner, 0)).collect::<Result<Vec<Task>>>()?;
    store_all(&*engine, &tasks).await?;
    add(&*engine, Uuid::new_v4(), 0).await?;
    let gone = apply(&*engine, &tasks[7], Command::Delete, 1).await?;
    let listed: HashSet<Uuid> = engine.ids_by_owner(owner, 1000).await?.into_iter().collect();
    let expected: HashSet<Uuid> = ids(&tasks).into_iter().filter(|id| *id != gone.id).collect();
    ensure!(listed == expected);
    ensure!(engine.ids_by_owner(owner, 10).await?.len() == 10);
    ensure!(engine.ids_by_owner(Uuid::new_v4(), 10).await?.is_empty());
    Ok(())
}
