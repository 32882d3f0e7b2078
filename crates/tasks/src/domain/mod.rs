//! What a task is and what may happen to it; pure, without I/O or a clock of its own.

mod machine;
mod view;

use std::sync::Arc;

use jiff::Timestamp;
use miniapp_types::task::{Event, EventType, Status, TaskError};
use miniapp_types::trace::TraceContext;
use serde_json::value::RawValue;
use uuid::Uuid;

pub use machine::{Command, MAX_LOST_LEASES, Refusal, TTL_EXCEEDED, Transition};
pub use view::TaskView;

/// A task as the store keeps it: what was asked for, and where it stands.
#[derive(Clone, Debug)]
pub struct Task {
    /// The task's id.
    pub id: Uuid,
    /// Whose task it is.
    pub owner: Uuid,
    /// What was asked for; never changes.
    pub spec: Arc<Spec>,
    /// Where it stands.
    pub state: State,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What is to be run.
    pub kind: String,
    /// What it is about, for people.
    pub description: String,
    /// The kind's input, as it was sent.
    pub data: Box<RawValue>,
    /// Seconds one execution may take.
    pub ttl: u32,
    /// How many attempts may fail.
    pub max_attempts: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The trace that it belongs to from its first request on.
    pub trace: TraceContext,
}

/// Where a task stands.
#[derive(Clone, Debug)]
pub struct State {
    /// As its owner sees it.
    pub status: Status,
    /// The newest thing to say about it.
    pub message: Option<String>,
    /// From 0 to 1.
    pub progress: f64,
    /// What the kind returned.
    pub result: Option<Arc<RawValue>>,
    /// Why the newest attempt failed.
    pub error: Option<TaskError>,
    /// Attempts begun in this generation and not handed back.
    pub attempt: u32,
    /// 1, and one more with each restart.
    pub generation: u32,
    /// One more with each change; what a write is guarded by.
    pub version: u64,
    /// The fencing token: one more with each claim, over all generations.
    pub claim: u64,
    /// Until when the claim holds, while one does.
    pub lease_until: Option<Timestamp>,
    /// How often a lease ran out in this generation.
    pub lost_leases: u32,
    /// Who holds it or held it last.
    pub worker: Option<Arc<str>>,
    /// When its newest event happened.
    pub changed_at: Timestamp,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// When the newest attempt began.
    pub started_at: Option<Timestamp>,
    /// When the generation ended.
    pub finished_at: Option<Timestamp>,
    /// While it waits: from when on it may run. Reaching it is a duty to dispatch.
    pub ready_at: Option<Timestamp>,
    /// Its owner asked for the end of the running attempt.
    pub cancel_requested: bool,
    /// It was removed; kept for a while so that streams can tell.
    pub deleted: bool,
}

impl Task {
    /// A task as it is accepted at `spec.created_at`, to run at `run_at` or at once.
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

    /// The event that it became what it is, which happened `at`.
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
