//! Tasks as clients see them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::{Fields, FromFields};
use crate::limits;

/// Where a task stands.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
pub enum Status {
    /// Accepted, waits for a worker (or for its time).
    Awaiting,
    /// A worker holds it.
    Executing,
    /// Ended with a result.
    Finished,
    /// Ended by its owner, or stopped at its ttl.
    Canceled,
    /// Ended without a result.
    Failed,
}

impl Status {
    /// Whether nothing happens to the task any more unless it is restarted.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Canceled | Self::Failed)
    }
}

/// The body of `POST /api/tasks`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubmitTask {
    /// What the task is about, for people.
    #[schema(example = "Say it back")]
    pub description: String,
    /// The kind's input; a string or any JSON, as the kind wants.
    #[schema(value_type = Value, example = json!({"hello": "world"}))]
    pub data: Box<RawValue>,
    /// Seconds one execution may take.
    #[schema(example = 30)]
    pub ttl: u32,
    /// What is to be run; `GET /api/kinds` lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = "simulate", example = "echo")]
    pub kind: Option<String>,
    /// How often to try, the first time included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = 3)]
    pub max_attempts: Option<u32>,
    /// Not before this time; a time in the past means now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
}

impl FromFields for SubmitTask {
    fn read(fields: &mut Fields) -> Option<Self> {
        let description = fields.text("description", limits::DESCRIPTION);
        let data = fields.json("data");
        let ttl = fields.integer("ttl", limits::TTL);
        let kind = fields.optional(|f| f.text("kind", limits::KIND), "kind");
        let max_attempts =
            fields.optional(|f| f.integer("maxAttempts", limits::ATTEMPTS), "maxAttempts");
        let run_at = fields.optional(|f| f.timestamp("runAt"), "runAt");
        Some(Self { description: description?, data: data?, ttl: ttl?, kind, max_attempts, run_at })
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The task's id (UUIDv7, so ids sort by creation).
    pub task_id: Uuid,
    /// What is run.
    pub kind: String,
    /// What the task is about.
    pub description: String,
    /// The kind's input, as submitted.
    #[schema(value_type = Value)]
    pub data: Value,
    /// Seconds one execution may take.
    pub ttl: u32,
    /// Where it stands.
    pub status: Status,
    /// The newest thing to say about it.
    pub status_message: Option<String>,
    /// From 0 to 1.
    pub progress: f64,
    /// What the kind returned.
    #[schema(value_type = Option<Value>)]
    pub result: Option<Value>,
    /// Why the newest attempt failed.
    pub error: Option<TaskError>,
    /// How many attempts began in this generation.
    pub attempt: u32,
    /// How many may.
    pub max_attempts: u32,
    /// 1, and one more with each restart.
    pub generation: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it runs next at the earliest, if that was asked for or a retry waits.
    pub run_at: Option<Timestamp>,
    /// When the newest attempt began.
    pub execution_started_at: Option<Timestamp>,
    /// When the generation ended.
    pub execution_finished_at: Option<Timestamp>,
    /// The worker that holds it or held it last.
    pub worker: Option<String>,
    /// The trace of everything that happens to it.
    pub trace_id: Option<String>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskError {
    /// A stable `snake_case` name: the kind's own, or `panicked`, `lease_lost`, `unknown_kind`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A page of tasks, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Give it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// What happened.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EventType {
    /// Accepted.
    Created,
    /// A worker began an attempt.
    Started,
    /// The attempt says how far it is.
    Progress,
    /// The attempt failed; another one follows at `runAt`.
    Retrying,
    /// The worker gave it back unfinished, at shutdown; the attempt isn't counted.
    Released,
    /// Its worker vanished; another one will take it.
    LeaseLost,
    /// Its owner asked for the end; the running attempt is being stopped.
    CancelRequested,
    /// Ended with a result.
    Finished,
    /// Ended by its owner or at its ttl.
    Canceled,
    /// Ended without a result.
    Failed,
    /// A new generation began.
    Restarted,
    /// Removed; the last event of a task.
    Deleted,
}

/// One entry of a task's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The event's id (UUIDv7); what `Last-Event-ID` takes.
    pub id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The status after it.
    pub status: Status,
    /// In words.
    pub message: Option<String>,
    /// From 0 to 1, after it.
    pub progress: f64,
    /// The attempt it belongs to; 0 before the first.
    pub attempt: u32,
    /// The worker it belongs to.
    pub worker: Option<String>,
}

/// A task's timeline, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    /// The events.
    pub events: Vec<Event>,
}

/// A kind of task that the platform's workers run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// What a task's `kind` says.
    pub name: String,
    /// What it does, in a sentence.
    pub description: String,
    /// A JSON Schema of its `data`.
    #[schema(value_type = Value)]
    pub data_schema: Value,
    /// A `data` that works.
    #[schema(value_type = Value)]
    pub example: Value,
}

/// The answer of `GET /api/kinds`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Kinds {
    /// The kinds.
    pub kinds: Vec<Kind>,
}

/// A worker process that reported lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Its name, unique while it lives.
    pub name: String,
    /// The version it runs.
    pub version: String,
    /// The kinds it can run.
    pub kinds: Vec<String>,
    /// How many tasks it runs now.
    pub running: u32,
    /// How many it takes at most.
    pub capacity: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was heard of last.
    pub last_seen_at: Timestamp,
}

/// The answer of `GET /api/workers`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// The live workers by name.
    pub workers: Vec<Worker>,
}

/// How many tasks stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ByStatus {
    /// Tasks awaiting.
    pub awaiting: u64,
    /// Tasks executing.
    pub executing: u64,
    /// Tasks finished.
    pub finished: u64,
    /// Tasks canceled.
    pub canceled: u64,
    /// Tasks failed.
    pub failed: u64,
}

/// The answer of `GET /api/stats`: the caller's own tasks, for an admin all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// How many stand where.
    pub by_status: ByStatus,
    /// How many could run now and wait for a worker.
    pub queue_depth: u64,
    /// How long the oldest of those has waited, in seconds.
    pub oldest_wait_seconds: f64,
    /// How many ended as Finished in the last minute.
    pub finished_per_minute: u64,
}
