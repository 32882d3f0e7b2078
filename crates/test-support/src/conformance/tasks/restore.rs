//! What makes a restored store safe to use.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use miniapp_tasks::Command;
use uuid::Uuid;

use super::due::take;
use super::{
    Processes, add, add_claimed, add_finished, apply, at, change, claim, finish, is_stored, stored,
};

/// Above all versions of these tests.
const FLOOR: u64 = 1_000_000;

pub async fn owners_are_returned_in_pages(store: Processes) -> Result<()> {
    let engine = &*store[0];
    ensure!(engine.owners(None, 10).await?.is_empty(), "there are none");
    let mut owners = BTreeSet::new();
    for seconds in 0..3 {
        let owner = Uuid::new_v4();
        add(engine, owner, seconds).await?;
        add_finished(engine, owner, seconds).await?;
        owners.insert(owner);
    }
    let deleted = add_finished(engine, Uuid::new_v4(), 3).await?;
    apply(engine, &deleted, Command::Delete, 4).await?;

    let first = engine.owners(None, 2).await?;
    ensure!(first.len() == 2, "{first:?}");
    let rest = engine.owners(first.last().copied(), 2).await?;
    let all: Vec<Uuid> = first.into_iter().chain(rest).collect();
    ensure!(all == owners.into_iter().collect::<Vec<_>>(), "{all:?}");
    Ok(())
}

/// A worker from before the restore can no longer write, and an ended task is left unchanged.
pub async fn raised_versions_void_claims(store: Processes) -> Result<()> {
    let engine = &*store[0];
    let (running, ended) = (
        add_claimed(engine, Uuid::new_v4(), 0).await?,
        add_finished(engine, Uuid::new_v4(), 0).await?,
    );
    ensure!(engine.raise_versions(FLOOR, 10).await? == 1, "only one is unfinished");
    ensure!(engine.raise_versions(FLOOR, 10).await? == 0, "raised twice");
    is_stored(engine, &ended).await?;

    let outcome = change(&running, finish(&running)?, 1)?;
    let written = engine.write(&[], &[outcome]).await?;
    ensure!(written.changes == [false], "the outcome of an old claim was stored");
    let claims = [miniapp_tasks::Claim { task_id: running.id, token: running.state.claim }];
    let renewed = engine.renew(&claims, at(1000)).await?;
    ensure!(renewed.is_empty(), "an old claim was renewed: {renewed:?}");
    let raised = stored(engine, running.id).await?;
    ensure!(raised.state.version == FLOOR, "{raised:?}");
    apply(engine, &raised, finish(&raised)?, 2).await?;
    Ok(())
}

pub async fn raised_versions_make_waiting_tasks_due(store: Processes) -> Result<()> {
    let engine = &*store[0];
    let task = add(engine, Uuid::new_v4(), 0).await?;
    engine.mark_dispatched(&[(task.id, task.state.version)], at(1)).await?;
    ensure!(take(engine, 100, 10).await?.is_empty(), "it was dispatched");
    ensure!(engine.raise_versions(FLOOR, 10).await? == 1, "not raised");
    let due = take(engine, 100, 10).await?;
    ensure!(due.len() == 1 && due[0].version == FLOOR, "{due:?}");
    // The message from before the restore has the old version.
    let old = change(&task, claim(&task), 101)?;
    ensure!(engine.write(&[], &[old]).await?.changes == [false], "claimed by an old message");
    Ok(())
}

/// A backup that was taken after a restore may be restored, too.
pub async fn versions_are_raised_by_each_restore(store: Processes) -> Result<()> {
    let engine = &*store[0];
    let running = add_claimed(engine, Uuid::new_v4(), 0).await?;
    let mut claims = BTreeSet::from([running.state.claim]);
    for floor in [FLOOR, FLOOR + 10, FLOOR + 20] {
        ensure!(engine.raise_versions(floor, 10).await? == 1, "not raised to {floor}");
        let raised = stored(engine, running.id).await?;
        ensure!(raised.state.version == floor, "{raised:?}");
        ensure!(raised.state.claim < floor, "every claim increments the version: {raised:?}");
        ensure!(claims.insert(raised.state.claim), "an old claim is valid: {raised:?}");
    }
    Ok(())
}
