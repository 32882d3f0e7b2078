//! Bodies of the tasks API.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::{Fields, FromFields};
use crate::limits;
use crate::name::{KindName, QueueName};

/// The status of a task.
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
#[strum(ascii_case_insensitive)]
pub enum Status {
    /// Accepted; waits for a worker or for `runAt`.
    Awaiting,
    /// Run by a worker.
    Executing,
    /// Ended with a result.
    Finished,
    /// Ended by its owner or by its ttl.
    Canceled,
    /// Ended without a result.
    Failed,
}

impl Status {
    /// Whether only a restart can change the task.
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
    /// The input of the kind; any JSON that the kind accepts.
    #[schema(value_type = Value, example = json!({"hello": "world"}))]
    pub data: Box<RawValue>,
    /// Seconds that one execution may take.
    #[schema(example = 30)]
    pub ttl: u32,
    /// The kind of the task; `GET /api/kinds` lists them. Required unless the platform has a
    /// default (`tasks.default_kind`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "echo")]
    pub kind: Option<String>,
    /// The queue of the task, of `a-z`, `0-9`, `-`, `_` and `.`; that of its kind if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "default")]
    pub queue: Option<QueueName>,
    /// The maximum number of attempts, 3 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 3)]
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
        let kind = fields.optional(|f| f.parse("kind").map(|KindName(kind)| kind), "kind");
        let queue = fields.optional(|f| f.parse("queue"), "queue");
        let max_attempts =
            fields.optional(|f| f.integer("maxAttempts", limits::ATTEMPTS), "maxAttempts");
        let run_at = fields.optional(|f| f.timestamp("runAt"), "runAt");
        Some(Self {
            description: description?,
            data: data?,
            ttl: ttl?,
            kind,
            queue,
            max_attempts,
            run_at,
        })
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// A UUIDv7: ids sort by creation.
    pub task_id: Uuid,
    pub kind: String,
    /// The queue in which it waits for a worker.
    #[serde(default)]
    #[schema(value_type = String, required, example = "default")]
    pub queue: QueueName,
    /// What the task is about.
    pub description: String,
    /// The input of the kind as submitted.
    #[schema(value_type = Value)]
    pub data: Value,
    /// Seconds that one execution may take.
    pub ttl: u32,
    pub status: Status,
    /// The latest message about the task.
    pub status_message: Option<String>,
    /// From 0 to 1.
    pub progress: f64,
    /// The result of the kind.
    #[schema(value_type = Option<Value>)]
    pub result: Option<Value>,
    /// The error of the latest attempt.
    pub error: Option<TaskError>,
    /// Attempts started in this generation.
    pub attempt: u32,
    pub max_attempts: u32,
    /// 1, and one more with each restart.
    pub generation: u32,
    pub created_at: Timestamp,
    /// When the next attempt may start, if it was delayed or is a retry.
    pub run_at: Option<Timestamp>,
    /// When the latest attempt started.
    pub execution_started_at: Option<Timestamp>,
    /// When the generation ended.
    pub execution_finished_at: Option<Timestamp>,
    /// The worker of the latest attempt.
    pub worker: Option<String>,
    /// The trace of the task.
    pub trace_id: Option<String>,
    /// The account of the task, in lists for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub owner: Option<Uuid>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskError {
    /// A stable code in `snake_case`: of the kind, or `panicked`, `lease_lost`, `unknown_kind`.
    pub code: String,
    pub message: String,
}

/// A page of tasks, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskPage {
    pub tasks: Vec<Task>,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// The type of an event.
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
    /// A worker started an attempt.
    Started,
    /// The attempt reported progress.
    Progress,
    /// The attempt failed; the next one starts at `runAt`.
    Retrying,
    /// The worker returned the task at shutdown; the attempt is not counted.
    Released,
    /// The worker lost its lease; another one will claim the task.
    LeaseLost,
    /// The owner canceled the task, or its ttl ended; the running attempt is being stopped.
    CancelRequested,
    /// Ended with a result.
    Finished,
    /// Ended by its owner or by its ttl.
    Canceled,
    /// Ended without a result.
    Failed,
    /// A new generation started.
    Restarted,
    /// Removed; the last event of a task.
    Deleted,
}

/// An entry of the timeline of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// A UUIDv7; the value of `Last-Event-ID`.
    pub id: Uuid,
    pub task_id: Uuid,
    pub at: Timestamp,
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The status after the event.
    pub status: Status,
    pub message: Option<String>,
    /// From 0 to 1, after the event.
    pub progress: f64,
    /// The attempt of the event; 0 before the first.
    pub attempt: u32,
    /// The worker of the attempt.
    pub worker: Option<String>,
}

/// The events of a task, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    pub events: Vec<Event>,
}

/// A kind of task that workers run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    pub name: String,
    pub description: String,
    /// The JSON Schema of `data`.
    #[schema(value_type = Value)]
    pub data_schema: Value,
    /// A valid `data`.
    #[schema(value_type = Value)]
    pub example: Value,
    /// The queue of tasks that name none.
    #[serde(default)]
    #[schema(value_type = String, required, example = "default")]
    pub queue: QueueName,
}

/// The response of `GET /api/kinds`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Kinds {
    pub kinds: Vec<Kind>,
}

/// A worker that reported recently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Unique among live workers.
    pub name: String,
    pub version: String,
    pub kinds: Vec<String>,
    /// The queues from which it takes tasks; empty: all.
    #[serde(default = "default_queue_only")]
    #[schema(value_type = Vec<String>, required)]
    pub queues: Vec<QueueName>,
    /// Tasks that it is running.
    pub running: u32,
    /// Tasks that it runs at a time at most.
    pub capacity: u32,
    pub started_at: Timestamp,
    /// When it reported last.
    pub last_seen_at: Timestamp,
}

/// Workers of the previous release do not report their queues.
fn default_queue_only() -> Vec<QueueName> {
    vec![QueueName::default()]
}

/// The response of `GET /api/workers`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// Ordered by name.
    pub workers: Vec<Worker>,
}

/// The unfinished tasks of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    #[schema(value_type = String, example = "default")]
    pub name: QueueName,
    /// Tasks that could run now and wait for a worker.
    pub waiting: u64,
    /// Tasks that are running.
    pub running: u64,
    /// The longest wait of the waiting ones, in seconds.
    pub oldest_wait_seconds: f64,
}

/// The response of `GET /api/queues`: about the caller's tasks, or all for an admin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queues {
    /// The default queue and those with unfinished tasks, ordered by name.
    pub queues: Vec<QueueStatus>,
}

/// The number of tasks by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ByStatus {
    pub awaiting: u64,
    pub executing: u64,
    pub finished: u64,
    pub canceled: u64,
    pub failed: u64,
}

/// The response of `GET /api/stats`: about the caller's tasks, or all for an admin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    pub by_status: ByStatus,
    /// Tasks that could run now and wait for a worker.
    pub queue_depth: u64,
    /// The longest wait of those, in seconds.
    pub oldest_wait_seconds: f64,
    /// Tasks that became Finished in the last minute.
    pub finished_per_minute: u64,
}
