//! Clients submit, and change what they submitted.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_runtime::clock::Clock;
use miniapp_tasks::{Error, NewTask, Tasks};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use uuid::Uuid;

use super::Stage;
use crate::protocol::support::{key, new_task};

/// How often each does something.
const STEPS: usize = 200;

pub async fn run(stage: Arc<Stage>, number: usize, mut rng: SmallRng) {
    // Two clients share an owner, and the owner's tasks.
    let owner = Uuid::from_u128(1 + number as u128 / 2);
    for _ in 0..STEPS {
        let tasks = &stage.processes[rng.random_range(0..2)];
        match rng.random_range(0..10) {
            0..5 => submit(&stage, tasks, owner, &mut rng).await,
            _ => change(&stage, tasks, owner, &mut rng).await,
        }
        // Lets the background loops run.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..20))).await;
    }
}

async fn submit(stage: &Stage, tasks: &Tasks, owner: Uuid, rng: &mut SmallRng) {
    let name = format!("{owner} {}", rng.random_range(0..10));
    let is_keyed = rng.random_bool(0.3);
    let delay = SignedDuration::from_millis(rng.random_range(-1000..20_000));
    let run_at = rng.random_bool(0.2).then(|| stage.world.clock.now() + delay);
    let key = is_keyed.then(|| key(&name, 1));
    let new = NewTask { key, run_at, ..new_task(owner) };
    loop {
        match tasks.submit(new.clone()).await {
            Ok(answer) => {
                if is_keyed {
                    let mut keyed = stage.notes.keyed.lock();
                    let (answers, fresh) = keyed.entry(name).or_default();
                    answers.insert(answer.task.id);
                    *fresh += usize::from(answer.is_new);
                }
                stage.notes.accepted.lock().push(answer.task);
                return;
            }
            // With a key, a retry is safe; without one, the task may exist.
            Err(Error::Store(_)) if is_keyed => {}
            Err(Error::Store(_)) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn change(stage: &Stage, tasks: &Tasks, owner: Uuid, rng: &mut SmallRng) {
    let mine = |id: &Uuid| *id == owner;
    let task = {
        let accepted = stage.notes.accepted.lock();
        let of_owner: Vec<_> = accepted.iter().filter(|task| mine(&task.owner)).collect();
        if of_owner.is_empty() {
            return;
        }
        of_owner[rng.random_range(0..of_owner.len())].clone()
    };
    // A deletion releases the key, and another task may have it.
    let is_keyed = {
        let keyed = stage.notes.keyed.lock();
        keyed.values().any(|(answers, _)| answers.contains(&task.id))
    };
    let answer = match rng.random_range(0..10) {
        0..4 => tasks.cancel(owner, task.id).await.map(drop),
        4..9 => tasks.restart(owner, task.id).await.map(drop),
        _ if is_keyed => Ok(()),
        _ => tasks.delete(owner, task.id).await,
    };
    match answer {
        Ok(()) | Err(Error::Refused(_) | Error::NotFound | Error::Store(_)) => {}
        Err(Error::KeyReused | Error::VersionConflict) => panic!("there is no key"),
    }
}
