//! Tasks and changes for tests, without a store.

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::id_at;
use miniapp_tasks::Command;
use miniapp_tasks::domain::{Spec, State, Task};
use miniapp_tasks::engine::{Change, IdempotencyKey, Insert};
use miniapp_types::name::QueueName;
use miniapp_types::task::EventType;
use miniapp_types::trace::TraceContext;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Lease of a [`claim`].
pub const LEASE: SignedDuration = SignedDuration::from_secs(15);

/// Returns JSON verbatim.
pub fn raw(json: &str) -> Result<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).context("no JSON")
}

/// Returns a task submitted at `created_at` that may run immediately.
pub fn new(owner: Uuid, created_at: Timestamp) -> Result<Task> {
    Ok(Task::new(id_at(created_at), owner, spec("echo", created_at)?, None))
}

/// Returns a request submitted at `created_at`.
pub fn spec(kind: &str, created_at: Timestamp) -> Result<Spec> {
    Ok(Spec {
        kind: kind.to_owned(),
        queue: QueueName::default(),
        description: "a task of a test".to_owned(),
        data: raw("{\"n\":1}")?,
        ttl: 60,
        max_attempts: 3,
        created_at,
        trace: TraceContext::default(),
    })
}

/// Returns the insert of `task` with its first event.
pub fn insert(task: &Task, key: Option<IdempotencyKey>) -> Insert {
    let at = task.spec.created_at;
    let event = task.event(id_at(at), EventType::Created, at);
    Insert { task: task.clone(), event, key }
}

/// Applies `command` to `task`.
pub fn change(task: &Task, command: Command, at: Timestamp) -> Result<Change> {
    let step = task.apply(command, at)?;
    let kind = step.event.context("the command changes nothing")?;
    Ok(change_to(task, step.state, kind, step.at))
}

/// Returns a change of `task` to any `state`, possible or not.
pub fn change_to(task: &Task, state: State, kind: EventType, at: Timestamp) -> Change {
    let next = Task { state, ..task.clone() };
    let events = vec![next.event(id_at(at), kind, at)];
    Change { task: next, from_version: task.state.version, events }
}

/// Returns a worker's claim of the current version of `task`.
pub fn claim(task: &Task) -> Command {
    Command::Claim {
        generation: task.state.generation,
        version: task.state.version,
        worker: "worker-1".into(),
        lease: LEASE,
        alone: true,
        runs: None,
    }
}
