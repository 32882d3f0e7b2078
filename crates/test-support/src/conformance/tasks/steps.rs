//! Steps that kinds remember.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use miniapp_tasks::domain::Task;
use miniapp_tasks::{Claim, Command, Engine};
use uuid::Uuid;

use super::{Processes, add_claimed, add_finished, apply, at, claim, expire, fail, finish, held};
use crate::task::raw;

/// Remembers a step under a claim that is held.
async fn remember(engine: &dyn Engine, claim: Claim, name: &str, result: &str) -> Result<()> {
    ensure!(engine.remember_step(claim, name, &raw(result)?).await?, "the claim of {name} is lost");
    Ok(())
}

async fn steps(engine: &dyn Engine, claim: Claim) -> Result<Vec<(String, String)>> {
    let steps: BTreeMap<_, _> = engine.steps(claim).await?.context("the claim is lost")?;
    Ok(steps.into_iter().map(|(name, result)| (name, result.get().to_owned())).collect())
}

fn pair(name: &str, result: &str) -> (String, String) {
    (name.to_owned(), result.to_owned())
}

/// Ends the attempt of `task` and starts the next one.
async fn next_attempt(engine: &dyn Engine, task: &Task) -> Result<Task> {
    let failed = apply(engine, task, fail(task, Some(0)), 1).await?;
    apply(engine, &failed, claim(&failed), 2).await
}

pub async fn steps_are_remembered_for_the_generation([engine, other]: Processes) -> Result<()> {
    let first = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let stranger = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    ensure!(steps(&*engine, held(&first)).await?.is_empty());
    remember(&*engine, held(&first), "charge", "{\"id\": 1.50}").await?;
    remember(&*engine, held(&first), "B\u{e4}", "\"\\u0000\"").await?;
    let second = next_attempt(&*other, &first).await?;
    remember(&*other, held(&second), "mail", "null").await?;
    let third = next_attempt(&*engine, &second).await?;
    let expected =
        [pair("B\u{e4}", "\"\\u0000\""), pair("charge", "{\"id\": 1.50}"), pair("mail", "null")];
    let found = steps(&*engine, held(&third)).await?;
    ensure!(found == expected, "{found:?}");
    ensure!(steps(&*engine, held(&stranger)).await?.is_empty(), "steps of another task");
    Ok(())
}

pub async fn restart_begins_without_steps([engine, _]: Processes) -> Result<()> {
    let task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    remember(&*engine, held(&task), "charge", "1").await?;
    remember(&*engine, held(&task), "mail", "1").await?;
    let ended = apply(&*engine, &task, finish(&task)?, 1).await?;
    let restarted = apply(&*engine, &ended, Command::Restart, 2).await?;
    let task = apply(&*engine, &restarted, claim(&restarted), 3).await?;
    ensure!(steps(&*engine, held(&task)).await?.is_empty());
    remember(&*engine, held(&task), "charge", "2").await?;
    ensure!(steps(&*engine, held(&task)).await? == [pair("charge", "2")]);
    Ok(())
}

pub async fn lost_claim_cannot_remember_a_step([engine, other]: Processes) -> Result<()> {
    let lost = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let waiting = apply(&*other, &lost, expire(&lost), 100).await?;
    let refused = |claim| {
        let engine = &engine;
        async move {
            let result = raw("1")?;
            ensure!(!engine.remember_step(claim, "charge", &result).await?, "it was remembered");
            ensure!(engine.steps(claim).await?.is_none(), "it has steps");
            Ok(())
        }
    };
    refused(held(&lost)).await?;
    let current = apply(&*other, &waiting, claim(&waiting), 101).await?;
    refused(held(&lost)).await?;
    refused(Claim { task_id: Uuid::new_v4(), token: 1 }).await?;
    ensure!(steps(&*other, held(&current)).await?.is_empty());
    let ended = apply(&*other, &current, finish(&current)?, 102).await?;
    refused(held(&ended)).await
}

/// A statement may be sent twice.
pub async fn remembered_step_is_kept([engine, other]: Processes) -> Result<()> {
    let task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    for (engine, result) in [(&engine, "1"), (&other, "2")] {
        remember(&**engine, held(&task), "charge", result).await?;
    }
    ensure!(steps(&*engine, held(&task)).await? == [pair("charge", "1")]);
    Ok(())
}

pub async fn purge_deletes_steps([engine, _]: Processes) -> Result<()> {
    let task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    remember(&*engine, held(&task), "charge", "1").await?;
    apply(&*engine, &task, Command::Delete, 1).await?;
    add_finished(&*engine, Uuid::new_v4(), 0).await?;
    ensure!(engine.purge(at(100), at(100), 10).await? == 2);
    // The same task again has none.
    let again = super::new_task(task.owner, 0)?;
    let again = Task { id: task.id, ..again };
    super::store(&*engine, &again).await?;
    let again = apply(&*engine, &again, claim(&again), 0).await?;
    ensure!(steps(&*engine, held(&again)).await?.is_empty(), "steps outlive their task");
    Ok(())
}

pub async fn large_steps_are_stored([engine, _]: Processes) -> Result<()> {
    let task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let large = format!("\"{}\"", "x".repeat(256 * 1024));
    remember(&*engine, held(&task), "large", &large).await?;
    ensure!(steps(&*engine, held(&task)).await? == [pair("large", &large)]);
    Ok(())
}

/// A step of an attempt that loses its lease is refused, or the next attempt has it.
pub async fn step_and_expiry_do_not_both_win([engine, other]: Processes) -> Result<()> {
    for _ in 0..20 {
        let first = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
        let next_attempt = async {
            let waiting = apply(&*other, &first, expire(&first), 100).await?;
            let second = apply(&*other, &waiting, claim(&waiting), 101).await?;
            steps(&*other, held(&second)).await
        };
        let result = raw("1")?;
        let remembering = engine.remember_step(held(&first), "charge", &result);
        let (remembered, found) = tokio::join!(remembering, next_attempt);
        let (remembered, found) = (remembered?, found?);
        ensure!(found.len() == usize::from(remembered), "remembered: {remembered}, {found:?}");
    }
    Ok(())
}
