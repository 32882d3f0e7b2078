//! Clients submit, and change what they submitted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_runtime::clock::Clock as _;
use miniapp_tasks::engine::IdempotencyKey;
use miniapp_tasks::{Error, NewTask, Refusal, Task, Tasks};
use miniapp_types::trace::TraceContext;
use serde_json::value::to_raw_value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::simulation::kind::{End, Plan};
use crate::simulation::process::{Life, Role};
use crate::simulation::world::World;

/// How many things each does.
const STEPS: usize = 8;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A task of a client.
struct Mine {
    task: Task,
    key: Option<String>,
}

/// One client with an owner of its own.
pub async fn run(world: Arc<World>, number: usize) {
    let owner = Uuid::from_u128(1 + number as u128);
    let mut mine: Vec<Mine> = Vec::new();
    // A change of these had no answer, and may be done at any time.
    let mut unsure: HashSet<Uuid> = HashSet::new();
    for step in 0..STEPS {
        sleep(world.draw_time(0..2500)).await;
        let is_change = !mine.is_empty() && world.draw(0..100) < 45;
        if is_change {
            let place = world.draw(0..mine.len());
            change(&world, owner, &mine[place], &mut unsure).await;
        } else {
            let key = (world.draw(0..3) == 0).then(|| format!("{number} {}", step / 4));
            mine.extend(submit(&world, owner, key).await);
        }
    }
}

/// Asks one of the API's processes. `None`: no answer, and nobody knows what became of it.
async fn ask<T, F>(world: &World, ask: impl FnOnce(Tasks) -> F) -> Option<T>
where
    F: Future<Output = T>,
{
    let of = |world: &World| -> Vec<(Tasks, Arc<Life>)> {
        let processes = world.processes.lock();
        let apis = processes.iter().flatten().filter(|process| process.role == Role::Api);
        apis.map(|api| (api.tasks.clone(), api.life.clone())).collect()
    };
    let mut apis = of(world);
    if apis.is_empty() {
        return None;
    }
    let (tasks, life) = apis.swap_remove(world.draw(0..apis.len()));
    tokio::select! {
        biased;
        () = life.died() => None,
        answer = ask(tasks) => Some(answer),
        () = sleep(PATIENCE) => None,
    }
}

/// Submits a task; with a key until there is an answer, for that is what keys are for.
async fn submit(world: &World, owner: Uuid, key: Option<String>) -> Option<Mine> {
    let plan = Plan {
        steps: world.draw(1..4),
        pause: world.draw(1..2000),
        end: match world.draw(0..20) {
            0..12 => End::Result,
            12..17 => End::Retry,
            17..19 => End::Final,
            _ => End::Never,
        },
    };
    let delay = SignedDuration::from_millis(world.draw(-1000..8000));
    let new = NewTask {
        owner,
        kind: "steps".into(),
        description: "a task of a story".into(),
        data: to_raw_value(&plan).expect("JSON"),
        ttl: world.draw(3..40),
        max_attempts: world.draw(1..4),
        run_at: (world.draw(0..4) == 0).then(|| world.clock.now() + delay),
        key: key.clone().map(|key| IdempotencyKey { key, digest: [0; 32] }),
        trace: TraceContext::default(),
    };
    loop {
        let new = new.clone();
        match ask(world, |tasks| async move { tasks.submit(new).await }).await {
            Some(Ok(submitted)) => {
                let task = submitted.task;
                world.rules.accept(&task, key.as_deref());
                return Some(Mine { task, key });
            }
            None | Some(Err(Error::Store(_))) if key.is_none() => return None,
            None | Some(Err(Error::Store(_))) => sleep(world.draw_time(100..1000)).await,
            Some(Err(error)) => {
                world.breaks(format!("a submit is refused: {error}"));
                return None;
            }
        }
    }
}

/// Changes a task that nobody else changes but the workers.
async fn change(world: &World, owner: Uuid, mine: &Mine, unsure: &mut HashSet<Uuid>) {
    let Mine { task: Task { id, .. }, key } = mine;
    let id = *id;
    let had_ended = has_ended(world, id);
    let answer: Option<Result<(), Error>> = match world.draw(0..10) {
        0..5 => {
            let answer = ask(world, |tasks| async move { tasks.cancel(owner, id).await }).await;
            if let Some(Ok(Task { state, .. })) = &answer
                && !state.status.is_terminal()
                && !state.cancel_requested
            {
                world.breaks(format!("a cancel counts for nothing: {state:?}"));
            }
            answer.map(|answer| answer.map(drop))
        }
        5..9 => {
            let answer = ask(world, |tasks| async move { tasks.restart(owner, id).await }).await;
            answer.map(|answer| answer.map(drop))
        }
        // A removal frees the key, and then another task has it.
        _ if key.is_some() => return,
        _ => ask(world, |tasks| async move { tasks.delete(owner, id).await }).await,
    };
    if answer.is_none() {
        unsure.insert(id);
    }
    let is_true = match &answer {
        _ if unsure.contains(&id) => true,
        None | Some(Ok(()) | Err(Error::Store(_))) => true,
        Some(Err(Error::NotFound)) => world.store.row(id).is_some_and(|row| row.task.state.deleted),
        Some(Err(Error::Refused(Refusal::AlreadyFinished))) => has_ended(world, id),
        Some(Err(Error::Refused(Refusal::NotFinished))) => !had_ended,
        Some(Err(Error::Refused(_) | Error::KeyReused)) => false,
    };
    if !is_true {
        world.breaks(format!("{answer:?} for {:#?}", world.store.row(id)));
    }
}

fn has_ended(world: &World, id: Uuid) -> bool {
    world.store.row(id).is_some_and(|row| row.task.state.status.is_terminal())
}
