use anyhow::{Result, bail, ensure};
use miniapp_tasks::Command;
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::{IdempotencyKey, InsertOutcome};
use miniapp_tasks::{Engine, StoreError};
use uuid::Uuid;

use super::{
    Processes, add, apply, change, claim, finish, insert, is_stored, new_task, same, stored,
};

fn key(text: &str, digest: u8) -> IdempotencyKey {
    IdempotencyKey { key: text.to_owned(), digest: [digest; 32], previous_digest: None }
}

/// Inserts `task` with a key.
async fn offer(
    engine: &dyn Engine,
    task: &Task,
    key: IdempotencyKey,
) -> Result<InsertOutcome, StoreError> {
    let mut written = engine.write(&[insert(task, Some(key))], &[]).await?;
    written.inserts.pop().ok_or_else(|| StoreError::Internal("no answer".into()))
}

async fn is_new(engine: &dyn Engine, task: &Task, key: IdempotencyKey) -> Result<()> {
    ensure!(matches!(offer(engine, task, key).await?, InsertOutcome::New), "the key was known");
    is_stored(engine, task).await
}

/// Checks that `task` is not stored, because `first` has the key.
async fn is_known(
    engine: &dyn Engine,
    task: &Task,
    key: IdempotencyKey,
    first: &Task,
) -> Result<[u8; 32]> {
    let InsertOutcome::DuplicateKey { task: found, digest } = offer(engine, task, key).await?
    else {
        bail!("the key was forgotten");
    };
    same(&found, first)?;
    ensure!(engine.load(&[task.id]).await?.is_empty(), "the copy was stored");
    Ok(digest)
}

pub async fn duplicate_key_returns_the_first_task([engine, other]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let first = new_task(owner, 0)?;
    is_new(&*engine, &first, key("a", 1)).await?;
    let again = new_task(owner, 1)?;
    ensure!(is_known(&*engine, &again, key("a", 1), &first).await? == [1; 32]);
    ensure!(is_known(&*other, &again, key("a", 2), &first).await? == [1; 32], "not the first's");
    is_new(&*engine, &again, key("b", 1)).await
}

pub async fn duplicate_key_does_not_fail_its_batch([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let first = new_task(owner, 0)?;
    is_new(&*engine, &first, key("a", 1)).await?;
    let waiting = add(&*engine, owner, 0).await?;

    let copy = new_task(owner, 1)?;
    let (plain, keyed) = (new_task(owner, 1)?, new_task(owner, 1)?);
    let inserts =
        [insert(&plain, None), insert(&copy, Some(key("a", 1))), insert(&keyed, Some(key("b", 1)))];
    let cancel = change(&waiting, Command::Cancel, 1)?;
    let written = engine.write(&inserts, std::slice::from_ref(&cancel)).await?;
    let answers = written.inserts.as_slice();
    let [InsertOutcome::New, InsertOutcome::DuplicateKey { task, .. }, InsertOutcome::New] =
        answers
    else {
        bail!("answered {answers:?}");
    };
    same(task, &first)?;
    ensure!(written.changes == [true]);
    is_stored(&*engine, &plain).await?;
    is_stored(&*engine, &keyed).await?;
    is_stored(&*engine, &cancel.task).await
}

pub async fn keys_are_unique_per_owner([engine, _]: Processes) -> Result<()> {
    for _ in 0..3 {
        is_new(&*engine, &new_task(Uuid::new_v4(), 0)?, key("a", 1)).await?;
    }
    // Tasks without a key are never duplicates.
    let owner = Uuid::new_v4();
    add(&*engine, owner, 0).await?;
    add(&*engine, owner, 0).await.map(drop)
}

pub async fn key_survives_changes_of_its_task([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut task = new_task(owner, 0)?;
    is_new(&*engine, &task, key("a", 1)).await?;
    let steps: [fn(&Task) -> Result<Command>; 4] =
        [|task| Ok(claim(task)), finish, |_| Ok(Command::Restart), |_| Ok(Command::Cancel)];
    for (seconds, command) in (1..).zip(steps) {
        task = apply(&*engine, &task, command(&task)?, seconds).await?;
        is_known(&*engine, &new_task(owner, seconds)?, key("a", 1), &task).await?;
    }
    Ok(())
}

pub async fn deleted_task_releases_its_key([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let first = new_task(owner, 0)?;
    is_new(&*engine, &first, key("a", 1)).await?;
    apply(&*engine, &first, Command::Delete, 1).await?;
    let second = new_task(owner, 2)?;
    is_new(&*engine, &second, key("a", 2)).await?;
    ensure!(stored(&*engine, first.id).await?.state.deleted, "the first one is back");
    ensure!(is_known(&*engine, &new_task(owner, 3)?, key("a", 2), &second).await? == [2; 32]);
    Ok(())
}
