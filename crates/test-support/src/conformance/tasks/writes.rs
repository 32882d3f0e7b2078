use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use miniapp_runtime::clock::id_at;
use miniapp_tasks::Command;
use miniapp_tasks::domain::{Spec, Task};
use miniapp_tasks::engine::{Change, Insert};
use miniapp_types::trace::TraceContext;
use serde_json::json;
use uuid::Uuid;

use super::{
    Processes, add, add_claimed, add_finished, apply, at, change, claim, fail, finish, insert,
    is_stored, new_task, progress, raw, spec, store, store_all, stored,
};
use crate::timelines;

pub async fn load_returns_the_inserted_task([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let plain = new_task(owner, 1)?;
    let large = json!("x".repeat(256 * 1024)).to_string();
    let full = Spec {
        queue: "q-1_a.b".parse()?,
        kind: "k\u{e4}nd".into(),
        description: "quoted \"text\",\nthe second line \u{1F980}".into(),
        // The JSON is stored verbatim, with its spaces and the order of its keys.
        data: raw("{ \"b\" : 1.50,\n \"a\" : [null, \"\\u00e4\"] }")?,
        ttl: 86_400,
        max_attempts: 25,
        created_at: at(2) + std::time::Duration::from_micros(123_456),
        trace: TraceContext {
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            tracestate: Some("vendor=1".into()),
            baggage: Some("key=value".into()),
        },
    };
    let tasks = [
        plain,
        Task::new(id_at(at(2)), owner, full, Some(at(3_000_000))),
        Task::new(id_at(at(3)), owner, Spec { data: raw(&large)?, ..spec("echo", 3)? }, None),
    ];
    for task in &tasks {
        store(&*engine, task).await?;
    }
    for task in &tasks {
        is_stored(&*engine, task).await?;
    }
    Ok(())
}

/// Every transition of a task, one after the other.
pub async fn load_returns_every_change([engine, _]: Processes) -> Result<()> {
    type Way = Vec<fn(&Task) -> Result<Command>>;
    let expire: fn(&Task) -> Result<Command> =
        |task| Ok(Command::ExpireLease { version: task.state.version });
    let start: fn(&Task) -> Result<Command> = |task| Ok(claim(task));
    let ways: [Way; 9] = [
        vec![
            start,
            |task| Ok(progress(task, "a quarter")),
            finish,
            |_| Ok(Command::Restart),
            start,
        ],
        vec![start, |task| Ok(fail(task, Some(5))), start, finish, |_| Ok(Command::Delete)],
        vec![start, |task| Ok(fail(task, None)), |_| Ok(Command::Restart)],
        vec![|_| Ok(Command::Cancel), |_| Ok(Command::Restart), start, finish],
        vec![start, |_| Ok(Command::Cancel), |task| {
            Ok(Command::ConfirmCancel { claim: task.state.claim })
        }],
        vec![start, |task| Ok(Command::ExceedTtl { claim: task.state.claim })],
        vec![start, |task| Ok(Command::Release { claim: task.state.claim }), start, finish],
        vec![start, expire, start, expire, start, expire],
        vec![start, |_| Ok(Command::Cancel), expire, |_| Ok(Command::Delete)],
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut task = add(&*engine, Uuid::new_v4(), 0).await?;
        for (step, command) in (1..).zip(way) {
            task = apply(&*engine, &task, command(&task)?, step).await?;
            is_stored(&*engine, &task).await.with_context(|| format!("way {number}, {step}"))?;
        }
    }
    Ok(())
}

pub async fn one_write_applies_several_changes_of_a_task([engine, _]: Processes) -> Result<()> {
    let task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let first = change(&task, progress(&task, "a quarter"), 1)?;
    let second = change(&first.task, finish(&first.task)?, 1)?;
    let combined = Change {
        from_version: task.state.version,
        events: [first.events, second.events].concat(),
        task: second.task,
    };
    let written = engine.write(&[], std::slice::from_ref(&combined)).await?;
    ensure!(written.changes == [true]);
    is_stored(&*engine, &combined.task).await?;
    let timeline = timelines::stored(&*engine, task.id).await?.context("no timeline")?;
    ensure!(timeline.ends_with(&combined.events), "the timeline is {timeline:?}");
    Ok(())
}

pub async fn change_of_an_old_version_is_refused([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let old = add_claimed(&*engine, owner, 0).await?;
    let new = apply(&*engine, &old, finish(&old)?, 1).await?;
    let late = change(&old, fail(&old, None), 2)?;
    let written = engine.write(&[], std::slice::from_ref(&late)).await?;
    ensure!(written.changes == [false], "an old worker's word counted");
    is_stored(&*engine, &new).await?;

    // In a batch, only this change is refused.
    let other = add(&*engine, owner, 2).await?;
    let cancel = change(&other, Command::Cancel, 3)?;
    let fresh = new_task(owner, 3)?;
    let written = engine.write(&[insert(&fresh, None)], &[late, cancel.clone()]).await?;
    ensure!(written.changes == [false, true], "answered {:?}", written.changes);
    is_stored(&*engine, &new).await?;
    is_stored(&*engine, &cancel.task).await?;
    is_stored(&*engine, &fresh).await?;
    let kinds = timelines::stored(&*engine, new.id).await?.context("no timeline")?.len();
    ensure!(kinds == 3, "what was refused is in the timeline");
    Ok(())
}

pub async fn change_of_a_missing_task_is_refused([engine, _]: Processes) -> Result<()> {
    let nowhere = new_task(Uuid::new_v4(), 0)?;
    let cancel = change(&nowhere, Command::Cancel, 1)?;
    let written = engine.write(&[], &[cancel]).await?;
    ensure!(written.changes == [false]);
    ensure!(engine.load(&[nowhere.id]).await?.is_empty(), "a change made a task");
    ensure!(engine.timeline(nowhere.id, 0).await?.is_none(), "a change made a timeline");
    Ok(())
}

pub async fn large_batch_returns_results_in_order([engine, _]: Processes) -> Result<()> {
    const COUNT: usize = 777;
    let owner = Uuid::new_v4();
    let tasks = (0..COUNT).map(|_| new_task(owner, 0)).collect::<Result<Vec<Task>>>()?;
    store_all(&*engine, &tasks).await?;

    let changes =
        tasks.iter().map(|task| change(task, claim(task), 1)).collect::<Result<Vec<Change>>>()?;
    let (early, late): (Vec<_>, Vec<_>) =
        changes.iter().cloned().enumerate().partition(|(index, _)| index % 7 == 0);
    let early: Vec<Change> = early.into_iter().map(|(_, change)| change).collect();
    let written = engine.write(&[], &early).await?;
    ensure!(written.changes == vec![true; early.len()]);

    let fresh = (0..COUNT).map(|_| new_task(owner, 2)).collect::<Result<Vec<Task>>>()?;
    let inserts: Vec<Insert> = fresh.iter().map(|task| insert(task, None)).collect();
    let again: Vec<Change> = tasks
        .iter()
        .map(|task| {
            let worker = Arc::from("worker-2");
            let (generation, version) = (task.state.generation, task.state.version);
            let (lease, alone) = (super::LEASE, false);
            change(
                task,
                Command::Claim { generation, version, worker, lease, alone, runs: None },
                2,
            )
        })
        .collect::<Result<_>>()?;
    let written = engine.write(&inserts, &again).await?;
    ensure!(written.inserts.len() == COUNT);
    let expected: Vec<bool> = (0..COUNT).map(|index| index % 7 != 0).collect();
    ensure!(written.changes == expected, "the answers are not in order");
    for (index, _) in late {
        is_stored(&*engine, &again[index].task).await?;
    }
    for change in &early {
        is_stored(&*engine, &change.task).await?;
    }
    let ids: Vec<Uuid> = fresh.iter().chain(&tasks).map(|task| task.id).collect();
    ensure!(engine.load(&ids).await?.len() == 2 * COUNT, "some are missing");
    Ok(())
}

pub async fn failed_batch_is_rolled_back([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let known = add_finished(&*engine, owner, 0).await?;
    let other = add(&*engine, owner, 0).await?;
    let fresh = new_task(owner, 1)?;
    let cancel = change(&other, Command::Cancel, 1)?;
    let inserts = [insert(&fresh, None), insert(&known, None)];
    let written = engine.write(&inserts, &[cancel]).await;
    ensure!(written.is_err(), "an id was used twice: {written:?}");
    ensure!(engine.load(&[fresh.id]).await?.is_empty(), "half of a batch was stored");
    is_stored(&*engine, &other).await?;
    is_stored(&*engine, &known).await
}

pub async fn empty_batches_are_accepted([engine, _]: Processes) -> Result<()> {
    let written = engine.write(&[], &[]).await?;
    ensure!(written.inserts.is_empty() && written.changes.is_empty());
    ensure!(engine.load(&[]).await?.is_empty());
    ensure!(engine.load(&[Uuid::new_v4()]).await?.is_empty());
    ensure!(engine.renew(&[], at(0)).await?.is_empty());
    engine.mark_dispatched(&[], at(0)).await?;
    engine.announce_kinds(&[]).await?;
    let task = add(&*engine, Uuid::new_v4(), 0).await?;
    let twice = engine.load(&[task.id, task.id]).await?;
    ensure!(!twice.is_empty() && twice.iter().all(|found| found.id == task.id));
    stored(&*engine, task.id).await.map(drop)
}
