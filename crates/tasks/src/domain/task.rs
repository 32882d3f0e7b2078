//! The task and its state.

use std::sync::Arc;

use jiff::Timestamp;
use miniapp_types::name::QueueName;
use miniapp_types::task::{Event, EventType, Status, TaskError};
use miniapp_types::trace::TraceContext;
use serde_json::value::RawValue;
use uuid::Uuid;

/// A stored task: what was requested, and its current state.
#[derive(Clone, Debug)]
pub struct Task {
    pub id: Uuid,
    pub owner: Uuid,
    /// The request; immutable.
    pub spec: Arc<Spec>,
    pub state: State,
}

/// The requested work.
#[derive(Clone, Debug)]
pub struct Spec {
    pub kind: String,
    pub queue: QueueName,
    pub description: String,
    /// The input of the kind, as the client sent it.
    pub data: Box<RawValue>,
    /// Time limit of one attempt, in seconds.
    pub ttl: u32,
    /// Maximum number of attempts.
    pub max_attempts: u32,
    pub created_at: Timestamp,
    /// Trace context of the request that submitted it.
    pub trace: TraceContext,
}

/// The current state of a task.
#[derive(Clone, Debug)]
pub struct State {
    pub status: Status,
    /// The latest status message.
    pub message: Option<String>,
    /// From 0 to 1.
    pub progress: f64,
    /// The result of the kind, once finished.
    pub result: Option<Arc<RawValue>>,
    /// The error of the last attempt.
    pub error: Option<TaskError>,
    /// Number of attempts in this generation, not counting released ones.
    pub attempt: u32,
    /// Starts at 1 and grows with each restart.
    pub generation: u32,
    /// Grows with each change; guards every write.
    pub version: u64,
    /// The fencing token. Grows with each claim, over all generations.
    pub claim: u64,
    /// The end of the lease, while the task is claimed.
    pub lease_until: Option<Timestamp>,
    /// Number of expired leases in this generation.
    pub lost_leases: u32,
    /// The worker of the current or last attempt.
    pub worker: Option<Arc<str>>,
    /// The time of the latest event.
    pub changed_at: Timestamp,
    /// The requested or retry start time.
    pub run_at: Option<Timestamp>,
    /// The start of the last attempt.
    pub started_at: Option<Timestamp>,
    /// The time at which this generation reached a final state.
    pub finished_at: Option<Timestamp>,
    /// While waiting: the time at which the task may run and is due for dispatch.
    pub ready_at: Option<Timestamp>,
    /// The running attempt has to stop: the owner canceled the task, or its ttl has ended.
    pub cancel_requested: bool,
    /// Deleted, but kept so that streams can report the deletion.
    pub deleted: bool,
}

impl Task {
    /// Creates a waiting task that runs at `run_at` or immediately.
    pub fn new(id: Uuid, owner: Uuid, spec: Spec, run_at: Option<Timestamp>) -> Self {
        let ready_at = run_at.map_or(spec.created_at, |at| at.max(spec.created_at));
        let state = State {
            status: Status::Awaiting,
            message: None,
            progress: 0.0,
            result: None,
            error: None,
            attempt: 0,
            generation: 1,
            version: 1,
            claim: 0,
            lease_until: None,
            lost_leases: 0,
            worker: None,
            changed_at: spec.created_at,
            run_at,
            started_at: None,
            finished_at: None,
            ready_at: Some(ready_at),
            cancel_requested: false,
            deleted: false,
        };
        Self { id, owner, spec: Arc::new(spec), state }
    }

    /// Returns the idempotency key of the task's side effects, the same for all attempts of a
    /// generation.
    pub fn idempotency_key(&self) -> String {
        // Not `-`, so that it differs from the id of every attempt.
        format!("{}.{}", self.id, self.state.generation)
    }

    /// Creates an event with the task's current state.
    pub fn event(&self, id: Uuid, kind: EventType, at: Timestamp) -> Event {
        let Self { state, .. } = self;
        Event {
            id,
            task_id: self.id,
            at,
            kind,
            status: state.status,
            message: state.message.clone(),
            progress: state.progress,
            attempt: state.attempt,
            worker: state.worker.as_deref().map(str::to_owned),
        }
    }
}
