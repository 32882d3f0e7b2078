//! Tasks, events and workers for tests.

use jiff::{SignedDuration, Timestamp};
use miniapp_types::name::QueueName;
use miniapp_types::task::{Event, EventType, Status, Task, Worker};
use uuid::Uuid;

/// Returns the time of a second after a fixed start.
pub fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2030-01-01T00:00:00Z".parse().expect("a time");
    start + SignedDuration::from_secs(seconds)
}

/// Returns a task that was created at second 0. Unless it is awaiting, its first attempt
/// started at second 1; if it has ended, that was at second 5.
pub fn task(status: Status) -> Task {
    let is_started = status != Status::Awaiting;
    Task {
        task_id: Uuid::nil(),
        kind: "echo".to_owned(),
        queue: QueueName::default(),
        description: "Say it back".to_owned(),
        data: serde_json::json!({"hello": "world"}),
        ttl: 30,
        status,
        status_message: None,
        progress: 0.0,
        result: None,
        error: None,
        attempt: u32::from(is_started),
        max_attempts: 3,
        generation: 1,
        created_at: at(0),
        run_at: None,
        execution_started_at: is_started.then(|| at(1)),
        execution_finished_at: status.is_terminal().then(|| at(5)),
        worker: is_started.then(|| "worker-1".to_owned()),
        trace_id: None,
        owner: None,
    }
}

/// Returns an event of that task at a second.
pub fn event(kind: EventType, second: i64) -> Event {
    let status = match kind {
        EventType::Created
        | EventType::Retrying
        | EventType::Released
        | EventType::LeaseLost
        | EventType::Restarted => Status::Awaiting,
        EventType::Started | EventType::Progress | EventType::CancelRequested => Status::Executing,
        EventType::Finished => Status::Finished,
        EventType::Canceled | EventType::Deleted => Status::Canceled,
        EventType::Failed => Status::Failed,
    };
    let is_started = !matches!(kind, EventType::Created | EventType::Restarted);
    Event {
        id: Uuid::nil(),
        task_id: Uuid::nil(),
        at: at(second),
        kind,
        status,
        message: None,
        progress: 0.0,
        attempt: u32::from(is_started),
        worker: is_started.then(|| "worker-1".to_owned()),
    }
}

/// Returns a worker that runs `running` of at most 8 tasks.
pub fn worker(name: &str, kinds: &[&str], running: u32) -> Worker {
    Worker {
        queues: Vec::new(),
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(),
        running,
        capacity: 8,
        started_at: at(0),
        last_seen_at: at(0),
    }
}
