//! Bodies of the protocol for workers over HTTP.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::{Fields, FromFields};
use crate::limits;
use crate::task::TaskError;

/// The body of `POST /worker/v1/claims`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRequest {
    /// The name of the worker, unique among live workers.
    #[schema(example = "resize-1")]
    pub worker: String,
    /// The kinds that it runs.
    pub kinds: Vec<WorkerKind>,
    /// The queues from which it takes tasks; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<String>>,
    /// The maximum number of tasks to claim.
    #[schema(example = 10)]
    pub max: u32,
    /// How long to wait for a first task.
    #[schema(example = 20)]
    pub wait_seconds: u32,
}

impl FromFields for ClaimRequest {
    fn read(fields: &mut Fields) -> Option<Self> {
        let worker = worker(fields);
        let kinds = fields.list("kinds", limits::WORKER_KINDS);
        let queues = fields.optional(|fields| fields.names("queues"), "queues");
        let max = fields.integer("max", limits::CLAIMS);
        let wait_seconds = fields.integer("waitSeconds", limits::CLAIM_WAIT);
        Some(Self {
            worker: worker?,
            kinds: kinds?,
            queues,
            max: max?,
            wait_seconds: wait_seconds?,
        })
    }
}

/// A kind that a worker runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerKind {
    /// Of `a-z`, `0-9`, `-`, `_` and `.`.
    #[schema(example = "resize")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub data_schema: Option<Value>,
    /// A valid `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub example: Option<Value>,
    /// The queue of its tasks; `default` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

impl FromFields for WorkerKind {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.name("name");
        let description = fields
            .optional(|fields| fields.text("description", limits::DESCRIPTION), "description");
        let data_schema = fields.optional(|fields| document(fields, "dataSchema"), "dataSchema");
        if data_schema.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            fields.reject("dataSchema", "must be a JSON Schema");
        }
        let example = fields.optional(|fields| document(fields, "example"), "example");
        let queue = fields.optional(|fields| fields.name("queue"), "queue");
        Some(Self { name: name?, description, data_schema, example, queue })
    }
}

/// The response of `POST /worker/v1/claims`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Claims {
    /// Empty if no task came in time.
    pub claims: Vec<ClaimedTask>,
}

/// A task that the worker has to run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimedTask {
    pub task_id: Uuid,
    /// The fencing token: heartbeats and outcomes repeat it.
    pub claim: u64,
    pub kind: String,
    /// The input of the kind as submitted.
    #[schema(value_type = Value)]
    pub data: Box<RawValue>,
    /// The number of the attempt, starting with 1.
    pub attempt: u32,
    pub max_attempts: u32,
    pub generation: u32,
    /// Unique for each attempt.
    pub attempt_id: String,
    /// The same for all attempts of a generation.
    pub idempotency_key: String,
    /// Seconds that the attempt may take.
    pub ttl: u32,
    /// The end of the ttl, by the clock of the platform.
    pub deadline: Timestamp,
    /// The claim is lost without a heartbeat before this time.
    pub lease_until: Timestamp,
    /// The trace context of the attempt, for spans of the worker.
    #[schema(required = true)]
    pub traceparent: Option<String>,
}

/// The body of `POST /worker/v1/heartbeats`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The name of the worker.
    pub worker: String,
    pub claims: Vec<Heartbeat>,
}

impl FromFields for HeartbeatRequest {
    fn read(fields: &mut Fields) -> Option<Self> {
        let worker = worker(fields);
        let claims = fields.list("claims", limits::HEARTBEATS);
        Some(Self { worker: worker?, claims: claims? })
    }
}

/// A claim to renew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    pub task_id: Uuid,
    pub claim: u64,
    /// From 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub progress: Option<f64>,
    /// The progress in words; a longer message is cut off after 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl FromFields for Heartbeat {
    fn read(fields: &mut Fields) -> Option<Self> {
        let task_id = fields.uuid("taskId");
        let claim = claim(fields);
        let progress = fields.optional(|fields| fields.fraction("progress"), "progress");
        let message = fields.optional(|fields| fields.text("message", limits::REPORT), "message");
        Some(Self { task_id: task_id?, claim: claim?, progress, message })
    }
}

/// The response of `POST /worker/v1/heartbeats`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Heartbeats {
    /// In the order of the request.
    pub claims: Vec<RenewedClaim>,
}

/// A claim after a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewedClaim {
    pub task_id: Uuid,
    pub claim: u64,
    /// Null if the attempt has ended.
    #[schema(required = true)]
    pub lease_until: Option<Timestamp>,
    /// Why the attempt has to stop; null if it may go on.
    #[schema(required = true)]
    pub stop: Option<StopReason>,
}

/// Why an attempt has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The owner canceled or deleted the task.
    Canceled,
    /// The attempt exceeded its ttl.
    Expired,
    /// The lease has ended. Another worker may have the task.
    Lost,
}

/// The body of `POST /worker/v1/outcomes`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutcomeRequest {
    /// The name of the worker.
    pub worker: String,
    pub outcomes: Vec<AttemptOutcome>,
}

impl FromFields for OutcomeRequest {
    fn read(fields: &mut Fields) -> Option<Self> {
        let worker = worker(fields);
        let outcomes = fields.list("outcomes", limits::OUTCOMES);
        Some(Self { worker: worker?, outcomes: outcomes? })
    }
}

/// How an attempt ended: exactly one of `result`, `error`, `released` and `stopped`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttemptOutcome {
    pub task_id: Uuid,
    pub claim: u64,
    /// It finished with this result; any JSON, null included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub result: Option<Box<RawValue>>,
    /// It failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// The worker returns the task unfinished. The attempt is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<bool>,
    /// The attempt was stopped because of the `stop` of a heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
}

impl FromFields for AttemptOutcome {
    fn read(fields: &mut Fields) -> Option<Self> {
        let task_id = fields.uuid("taskId");
        let claim = claim(fields);
        let result = fields.contains("result").then(|| fields.json("result"));
        let error = fields.optional(|fields| fields.object("error"), "error");
        let released = fields.optional(|fields| fields.boolean("released"), "released");
        let stopped = fields.optional(|fields| fields.boolean("stopped"), "stopped");
        let is_given =
            [result.is_some(), error.is_some(), released == Some(true), stopped == Some(true)];
        if !fields.has_errors() && is_given.into_iter().filter(|it| *it).count() != 1 {
            fields.reject("", "must have exactly one of result, error, released and stopped");
        }
        Some(Self {
            task_id: task_id?,
            claim: claim?,
            result: result.flatten(),
            error,
            released,
            stopped,
        })
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttemptError {
    /// A stable code in `snake_case`.
    #[schema(example = "disk_full")]
    pub code: String,
    /// For people; a longer message is cut off after 500 characters.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retry: bool,
    /// The delay before the next attempt; grows with the attempts by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_seconds: Option<u32>,
}

impl From<&AttemptError> for TaskError {
    fn from(error: &AttemptError) -> Self {
        Self { code: error.code.clone(), message: error.message.clone() }
    }
}

impl FromFields for AttemptError {
    fn read(fields: &mut Fields) -> Option<Self> {
        let code = fields.text("code", limits::ERROR_CODE);
        let message = fields.text("message", limits::REPORT);
        let retry = fields.boolean("retry");
        let retry_in_seconds = fields.optional(
            |fields| fields.integer("retryInSeconds", limits::RETRY_DELAY),
            "retryInSeconds",
        );
        Some(Self { code: code?, message: message?, retry: retry?, retry_in_seconds })
    }
}

/// The response of `POST /worker/v1/outcomes`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Outcomes {
    /// In the order of the request.
    pub outcomes: Vec<SettledOutcome>,
}

/// Whether an outcome was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettledOutcome {
    pub task_id: Uuid,
    pub claim: u64,
    pub accepted: bool,
    /// Why it was not accepted.
    #[schema(required = true)]
    pub refusal: Option<OutcomeRefusal>,
}

/// Why an outcome is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeRefusal {
    /// The lease has ended, or another worker has the task.
    Lost,
    /// The attempt has already ended with another outcome.
    AlreadyEnded,
    /// No heartbeat requested the attempt to stop.
    NotStopped,
}

fn worker(fields: &mut Fields) -> Option<String> {
    let name = fields.text("worker", limits::WORKER)?;
    if name.chars().any(char::is_control) {
        fields.reject("worker", "must not contain control characters");
        return None;
    }
    Some(name)
}

fn claim(fields: &mut Fields) -> Option<u64> {
    fields.counter("claim")
}

fn document(fields: &mut Fields, name: &str) -> Option<Value> {
    let raw = fields.json(name)?;
    if raw.get().len() > limits::MAX_KIND_DOCUMENT_BYTES {
        let max = limits::MAX_KIND_DOCUMENT_BYTES;
        fields.reject(name, format_args!("may have {max} bytes of JSON"));
        return None;
    }
    serde_json::from_str(raw.get()).ok()
}
