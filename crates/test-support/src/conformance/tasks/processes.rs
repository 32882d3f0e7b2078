use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use miniapp_tasks::Command;
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::{Change, IdempotencyKey, InsertOutcome};
use miniapp_types::task::Status;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::due::take;
use super::{
    Processes, add, add_claimed, apply, at, change, claim, expire, finish, held, ids, insert,
    is_stored, new_task, progress, store_all, stored,
};
use crate::timelines;

/// Each process repeatedly writes a change of the newest state it knows.
pub async fn one_writer_wins_each_version(store: Processes) -> Result<()> {
    const WINS: u64 = 25;
    let task = add_claimed(&*store[0], Uuid::new_v4(), 0).await?;
    let mut writers = JoinSet::new();
    for engine in store.clone() {
        let mut task = task.clone();
        writers.spawn(async move {
            let mut won = HashSet::new();
            while (won.len() as u64) < WINS {
                let step = change(&task, progress(&task, "on"), 1)?;
                if engine.write(&[], std::slice::from_ref(&step)).await?.changes == [true] {
                    won.insert(step.task.state.version);
                    task = step.task;
                } else {
                    task = stored(&*engine, task.id).await?;
                }
            }
            anyhow::Ok(won)
        });
    }
    let mut versions = HashSet::new();
    while let Some(won) = writers.join_next().await {
        for version in won?? {
            ensure!(versions.insert(version), "two won version {version}");
        }
    }
    let newest = stored(&*store[1], task.id).await?.state.version;
    ensure!(newest == task.state.version + 2 * WINS, "version {newest}");
    let timeline = timelines::stored(&*store[0], task.id).await?.context("no timeline")?;
    ensure!(timeline.len() as u64 == newest, "{} events make version {newest}", timeline.len());
    Ok(())
}

/// Batches of both processes contain the same tasks in different orders.
pub async fn one_writer_wins_each_task_of_a_batch(store: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let tasks = (0..200).map(|_| new_task(owner, 0)).collect::<Result<Vec<Task>>>()?;
    store_all(&*store[0], &tasks).await?;
    let mut writers = JoinSet::new();
    for (number, engine) in store.iter().cloned().enumerate() {
        let mut tasks = tasks.clone();
        if number == 1 {
            tasks.reverse();
        }
        writers.spawn(async move {
            let mut won: Vec<Change> = Vec::new();
            for tasks in tasks.chunks(10) {
                let changes = tasks
                    .iter()
                    .map(|task| {
                        let command = if number == 0 { claim(task) } else { Command::Cancel };
                        change(task, command, 1)
                    })
                    .collect::<Result<Vec<Change>>>()?;
                let stored = engine.write(&[], &changes).await?.changes;
                won.extend(changes.into_iter().zip(stored).filter(|(_, won)| *won).map(|(c, _)| c));
            }
            anyhow::Ok(won)
        });
    }
    let mut decided = HashSet::new();
    while let Some(won) = writers.join_next().await {
        for change in won?? {
            ensure!(decided.insert(change.task.id), "both won a task");
            is_stored(&*store[0], &change.task).await?;
        }
    }
    ensure!(decided.len() == tasks.len(), "{} tasks have no winner", tasks.len() - decided.len());
    Ok(())
}

pub async fn one_insert_wins_a_key(store: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    for round in 0..20_u8 {
        let mut writers = JoinSet::new();
        for engine in store.clone() {
            let task = new_task(owner, 0)?;
            let key = IdempotencyKey {
                key: format!("key {round}"),
                digest: [round; 32],
                previous_digest: None,
            };
            writers.spawn(async move {
                let mut written = engine.write(&[insert(&task, Some(key))], &[]).await?;
                anyhow::Ok((task.id, written.inserts.pop().context("no answer")?))
            });
        }
        let [first, second] = [writers.join_next().await, writers.join_next().await];
        let answers = [first.context("one")???, second.context("the other")???];
        let (winner, other) = match answers {
            [(id, InsertOutcome::New), (_, InsertOutcome::DuplicateKey { task, .. })]
            | [(_, InsertOutcome::DuplicateKey { task, .. }), (id, InsertOutcome::New)] => {
                (id, task.id)
            }
            answers => bail!("answered {answers:?}"),
        };
        ensure!(winner == other, "the loser got another task");
    }
    Ok(())
}

pub async fn concurrent_takers_share_due_tasks(store: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let tasks = (0..500).map(|_| new_task(owner, 0)).collect::<Result<Vec<Task>>>()?;
    store_all(&*store[0], &tasks).await?;
    let mut takers = JoinSet::new();
    for engine in store {
        takers.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let some = take(&*engine, 5, 20).await?;
                if some.is_empty() {
                    return anyhow::Ok(taken);
                }
                taken.extend(some.into_iter().map(|due| due.id));
            }
        });
    }
    let mut taken = HashSet::new();
    while let Some(some) = takers.join_next().await {
        for id in some?? {
            ensure!(taken.insert(id), "both took a task");
        }
    }
    ensure!(taken == ids(&tasks).into_iter().collect(), "{} were taken", taken.len());
    Ok(())
}

pub async fn renewal_and_expiry_do_not_both_win(store: Processes) -> Result<()> {
    let [one, other] = store;
    for _ in 0..20 {
        let task = add_claimed(&*one, Uuid::new_v4(), 0).await?;
        let claims = [held(&task)];
        let expire = [change(&task, expire(&task), 20)?];
        let (renewal, reaping) =
            tokio::join!(one.renew(&claims, at(60)), other.write(&[], &expire));
        let (is_renewed, is_reaped) = (!renewal?.is_empty(), reaping?.changes == [true]);
        ensure!(is_renewed != is_reaped, "renewed: {is_renewed}, reaped: {is_reaped}");
        let status = stored(&*one, task.id).await?.state.status;
        let expected = if is_renewed { Status::Executing } else { Status::Awaiting };
        ensure!(status == expected, "{status}");
    }
    Ok(())
}

pub async fn writes_are_visible_to_other_processes([one, other]: Processes) -> Result<()> {
    let mut task = add(&*one, Uuid::new_v4(), 0).await?;
    is_stored(&*other, &task).await?;
    for seconds in 1..20 {
        let (writer, reader) = if seconds % 2 == 0 { (&one, &other) } else { (&other, &one) };
        task = apply(&**writer, &task, claim(&task), seconds).await?;
        is_stored(&**reader, &task).await?;
        task = apply(&**reader, &task, finish(&task)?, seconds).await?;
        is_stored(&**writer, &task).await?;
        task = apply(&**writer, &task, Command::Restart, seconds).await?;
    }
    Ok(())
}
