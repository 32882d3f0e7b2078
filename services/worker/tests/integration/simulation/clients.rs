//! Clients that submit and change tasks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_runtime::clock::Clock as _;
use miniapp_tasks::engine::IdempotencyKey;
use miniapp_tasks::{Error, NewTask, Refusal, Task, Tasks};
use miniapp_types::name::QueueName;
use miniapp_types::trace::TraceContext;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::sleep;
use uuid::Uuid;

use crate::simulation::kind::{End, Plan};
use crate::simulation::process::{ProcessHandle, Role};
use crate::simulation::world::World;

/// The number of operations per client.
const STEPS: usize = 8;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A task of a client.
struct OwnTask {
    task: Task,
    key: Option<String>,
}

/// Runs one client, with its own account.
pub async fn run(world: Arc<World>, number: usize) {
    let owner = Uuid::from_u128(1 + number as u128);
    let mut mine: Vec<OwnTask> = Vec::new();
    // Changes of these had no response and may take effect at any time.
    let mut unsure: HashSet<Uuid> = HashSet::new();
    for step in 0..STEPS {
        sleep(world.draw_time(0..2500)).await;
        let is_change = !mine.is_empty() && world.draw(0..100) < 45;
        if is_change {
            let place = world.draw(0..mine.len());
            change(&world, owner, &mine[place], &mut unsure).await;
        } else {
            let key = (world.draw(0..3) == 0).then(|| format!("{number} {}", step / 4));
            // The same key stands for the same request.
            let first = mine.iter().find(|task| key.is_some() && task.key == key);
            let data = first.map(|first| first.task.spec.data.clone());
            mine.extend(submit(&world, owner, key, data).await);
        }
    }
}

/// Calls one of the API processes. `None`: no response, the result is unknown.
async fn call<T, F>(world: &World, call: impl FnOnce(Tasks) -> F) -> Option<T>
where
    F: Future<Output = T>,
{
    let of = |world: &World| -> Vec<(Tasks, Arc<ProcessHandle>)> {
        let processes = world.processes.lock();
        let apis = processes.iter().flatten().filter(|process| process.role == Role::Api);
        apis.map(|api| (api.tasks.clone(), api.handle.clone())).collect()
    };
    let mut apis = of(world);
    if apis.is_empty() {
        return None;
    }
    let (tasks, process) = apis.swap_remove(world.draw(0..apis.len()));
    tokio::select! {
        biased;
        () = process.died() => None,
        answer = call(tasks) => Some(answer),
        () = sleep(RESPONSE_TIMEOUT) => None,
    }
}

/// Submits a task with `data` or a random plan. With an idempotency key, retries until there is
/// a response.
async fn submit(
    world: &World,
    owner: Uuid,
    key: Option<String>,
    data: Option<Box<RawValue>>,
) -> Option<OwnTask> {
    let plan = Plan {
        steps: world.draw(1..4),
        pause: world.draw(1..2000),
        end: match world.draw(0..20) {
            0..12 => End::Result,
            12..17 => End::Retry,
            17 => End::Final,
            18 => End::Kill,
            _ => End::Never,
        },
    };
    let delay = SignedDuration::from_millis(world.draw(-1000..8000));
    let new = NewTask {
        owner,
        kind: if world.draw(0..4) == 0 { "strides".into() } else { "steps".into() },
        queue: if world.draw(0..4) == 0 {
            "other".parse().expect("a name")
        } else {
            QueueName::default()
        },
        description: "a task of a run".into(),
        data: data.unwrap_or_else(|| to_raw_value(&plan).expect("JSON")),
        ttl: world.draw(3..40),
        max_attempts: world.draw(1..4),
        run_at: (world.draw(0..4) == 0).then(|| world.clock.now() + delay),
        key: key.clone().map(|key| IdempotencyKey { key, digest: [0; 32], previous_digest: None }),
        trace: TraceContext::default(),
    };
    loop {
        let new = new.clone();
        match call(world, |tasks| async move { tasks.submit(new).await }).await {
            Some(Ok(submitted)) => {
                let task = submitted.task;
                world.invariants.accept(&task, key.as_deref());
                return Some(OwnTask { task, key });
            }
            None | Some(Err(Error::Store(_))) if key.is_none() => return None,
            None | Some(Err(Error::Store(_))) => sleep(world.draw_time(100..1000)).await,
            Some(Err(error)) => {
                world.violation(format!("a submit is refused: {error}"));
                return None;
            }
        }
    }
}

/// Changes a task, which otherwise only workers change.
async fn change(world: &World, owner: Uuid, mine: &OwnTask, unsure: &mut HashSet<Uuid>) {
    let OwnTask { task: Task { id, .. }, key } = mine;
    let id = *id;
    let had_ended = has_ended(world, id);
    let answer: Option<Result<(), Error>> = match world.draw(0..10) {
        0..5 => {
            let answer = call(world, |tasks| async move { tasks.cancel(owner, id).await }).await;
            if let Some(Ok(Task { state, .. })) = &answer
                && !state.status.is_terminal()
                && !state.cancel_requested
            {
                world.violation(format!("a cancel counts for nothing: {state:?}"));
            }
            answer.map(|answer| answer.map(drop))
        }
        5..9 => {
            let answer = call(world, |tasks| async move { tasks.restart(owner, id).await }).await;
            answer.map(|answer| answer.map(drop))
        }
        // A deletion frees the key for another task.
        _ if key.is_some() => return,
        _ => call(world, |tasks| async move { tasks.delete(owner, id).await }).await,
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
        Some(Err(Error::Refused(_) | Error::KeyReused | Error::VersionConflict)) => false,
    };
    if !is_true {
        world.violation(format!("{answer:?} for {:#?}", world.store.row(id)));
    }
}

fn has_ended(world: &World, id: Uuid) -> bool {
    world.store.row(id).is_some_and(|row| row.task.state.status.is_terminal())
}
