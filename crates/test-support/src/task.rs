//! Tasks, and what the state machine makes of them, without anyone who keeps them.

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::id_at;
use miniapp_tasks::Command;
use miniapp_tasks::domain::{Spec, State, Task};
use miniapp_tasks::engine::{Change, IdempotencyKey, Insert};
use miniapp_types::task::EventType;
use miniapp_types::trace::TraceContext;
use serde_json::value::RawValue;
use uuid::Uuid;

/// How long a [`claim`] is good for.
pub const LEASE: SignedDuration = SignedDuration::from_secs(15);

/// JSON as it is written.
pub fn raw(json: &str) -> Result<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).context("no JSON")
}

/// A task that is accepted at `created_at`, to be run at once.
pub fn new(owner: Uuid, created_at: Timestamp) -> Result<Task> {
    Ok(Task::new(id_at(created_at), owner, spec("echo", created_at)?, None))
}

/// What somebody asks for at `created_at`.
pub fn spec(kind: &str, created_at: Timestamp) -> Result<Spec> {
    Ok(Spec {
        kind: kind.to_owned(),
        description: "a task of a test".to_owned(),
        data: raw("{\"n\":1}")?,
        ttl: 60,
        max_attempts: 3,
        created_at,
        trace: TraceContext::default(),
    })
}

/// What stores `task` with its first event.
pub fn insert(task: &Task, key: Option<IdempotencyKey>) -> Insert {
    let at = task.spec.created_at;
    let event = task.event(id_at(at), EventType::Created, at);
    Insert { task: task.clone(), event, key }
}

/// The change that `command` makes of `task` at a time.
pub fn change(task: &Task, command: Command, at: Timestamp) -> Result<Change> {
    let step = task.apply(command, at)?;
    let kind = step.event.context("the command changes nothing")?;
    Ok(change_to(task, step.state, kind, step.at))
}

/// The change of `task` to `state`, which the state machine needn't have made.
pub fn change_to(task: &Task, state: State, kind: EventType, at: Timestamp) -> Change {
    let next = Task { state, ..task.clone() };
    let events = vec![next.event(id_at(at), kind, at)];
    Change { task: next, from_version: task.state.version, events }
}

/// A worker's claim of `task` as it is.
pub fn claim(task: &Task) -> Command {
    Command::Claim {
        generation: task.state.generation,
        version: task.state.version,
        worker: "worker-1".into(),
        lease: LEASE,
    }
}
