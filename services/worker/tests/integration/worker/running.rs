//! Running tasks.

use miniapp_broker::{Message, Queue};
use miniapp_telemetry::trace::CompletedSpan;
use miniapp_types::message::TaskReady;
use miniapp_types::task::EventType::{Created, Failed, Finished, Progress, Retrying, Started};
use miniapp_types::task::Status;
use opentelemetry::trace::{SpanKind, TraceId};
use serde_json::json;
use uuid::Uuid;

use crate::worker::platform::Platform;

#[tokio::test]
async fn task_finishes_with_its_result() {
    let platform = Platform::start().await;
    let worker = platform.worker();
    let id = platform.submit("echo", json!({ "hello": "world" })).await;
    let task = platform.ended(id).await;
    assert_eq!(task.state.status, Status::Finished);
    assert_eq!(task.state.result.expect("a result").get(), r#"{"hello":"world"}"#);
    assert_eq!(platform.event_types(id).await, [Created, Started, Finished]);
    worker.shutdown.begin();
    worker.stopped().await;
}

#[tokio::test]
async fn concurrency_limits_running_tasks() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(platform.submit("gate", json!(null)).await);
    }
    platform.gate.until(|counts| counts.begun == 4).await;
    platform.gate.open(1);
    platform.gate.until(|counts| counts.begun == 5 && counts.ended == 1).await;
    platform.gate.open(5);
    for id in ids {
        assert_eq!(platform.ended(id).await.state.status, Status::Finished);
    }
    assert_eq!(platform.gate.counts().begun, 6);
}

#[tokio::test]
async fn duplicate_message_runs_nothing() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("gate", json!(null)).await;
    let copy = TaskReady::V1 { task_id: id, generation: 1, version: 1, queue: None };
    for _ in 0..3 {
        platform.publish(Message::new(Uuid::new_v4(), &copy)).await;
    }
    platform.gate.until(|counts| counts.begun == 1).await;
    platform.queue_is_empty().await;
    platform.gate.open(1);
    platform.ended(id).await;
    platform.publish(Message::new(Uuid::new_v4(), &copy)).await;
    platform.queue_is_empty().await;
    let next = platform.submit("echo", json!(1)).await;
    platform.ended(next).await;
    assert_eq!(platform.gate.counts().begun, 1);
}

#[tokio::test]
async fn undecodable_message_is_parked() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let broker = platform.broker.clone();
    tokio::spawn(async move { miniapp_broker::run_dead_letter_consumer(&*broker).await });
    for body in [json!("nonsense"), json!({ "v": "99", "taskId": Uuid::nil() }), json!(null)] {
        platform.publish(Message::new(Uuid::new_v4(), &body)).await;
    }
    platform.wait_for_depth(Queue::Parked, 3).await;
    let id = platform.submit("echo", json!(1)).await;
    assert_eq!(platform.ended(id).await.state.status, Status::Finished);
}

#[tokio::test]
async fn invalid_data_fails_permanently() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("sleep", json!("long")).await;
    let error = platform.ended(id).await.state.error.expect("an error");
    assert_eq!(error.code, "invalid_data");
    assert_eq!(platform.event_types(id).await, [Created, Started, Failed]);
}

#[tokio::test]
async fn failed_attempt_is_retried() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("flaky", json!({ "failures": 1 })).await;
    let task = platform.ended(id).await;
    assert_eq!((task.state.status, task.state.attempt), (Status::Finished, 2));
    assert_eq!(platform.event_types(id).await, [Created, Started, Retrying, Started, Finished]);
}

#[tokio::test]
async fn panic_fails_only_the_attempt() {
    let platform = Platform::start().await;
    let worker = platform.worker();
    let id = platform.submit_with("panics", json!("here"), |task| task.max_attempts = 1).await;
    let error = platform.ended(id).await.state.error.expect("an error");
    assert_eq!(error.code, "panicked");
    assert!(error.message.starts_with("The kind's code panicked: began with \"here\""));
    assert!(error.message.len() < 200, "{}", error.message.len());
    let id = platform.submit("echo", json!(1)).await;
    assert_eq!(platform.ended(id).await.state.status, Status::Finished);
    worker.shutdown.begin();
    worker.stopped().await;
}

#[tokio::test]
async fn progress_is_stored_at_most_once_per_second() {
    let platform = Platform::start().await;
    let _worker = platform.worker();
    let id = platform.submit("chatty", json!(null)).await;
    platform.gate.until(|counts| counts.begun == 1).await;
    let newest_is_stored = async || {
        let message = platform.task(id).await.state.message;
        message.as_deref() == Some("step 1000")
    };
    platform.until("the newest is stored", newest_is_stored).await;
    platform.gate.open(1);
    platform.ended(id).await;
    let events = platform.events(id).await;
    let stored: Vec<_> = events.iter().filter(|event| event.kind == Progress).collect();
    let [first, last] = stored[..] else { panic!("{} were stored", stored.len()) };
    assert_eq!(last.message.as_deref(), Some("step 1000"));
    assert!((last.progress - 0.5).abs() < f64::EPSILON);
    let apart = last.at.duration_since(first.at).as_millis();
    assert!(apart >= 950, "only {apart} ms apart");
}

#[tokio::test]
async fn worker_is_listed_while_it_runs() {
    let platform = Platform::start().await;
    let worker = platform.worker();
    let workers = async || platform.tasks.workers().await.expect("an answer");
    platform.until("it reports", async || !workers().await.is_empty()).await;
    let reported = workers().await.remove(0);
    assert_eq!((reported.running, reported.capacity), (0, 4));
    assert!(reported.kinds.iter().any(|kind| kind == "echo"));
    let kinds = platform.tasks.kinds().await.expect("an answer");
    assert!(kinds.iter().any(|kind| kind.name == "hash" && kind.data_schema.is_object()));
    worker.shutdown.begin();
    worker.stopped().await;
    assert_eq!(workers().await, []);
    assert!(!platform.tasks.kinds().await.expect("an answer").is_empty());
}

#[tokio::test]
async fn attempt_span_is_a_child_of_the_process_span() {
    let platform = Platform::start().await;
    let telemetry = platform.telemetry();
    let _worker = platform.worker();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let id = platform
        .submit_with("flaky", json!({ "failures": 1 }), |task| {
            task.max_attempts = 1;
            task.trace.traceparent = Some(parent.into());
        })
        .await;
    platform.ended(id).await;
    let trace_id = TraceId::from_hex(&parent[3..35]).expect("an id");
    let spans = async || {
        let trace = telemetry.spans().get(trace_id);
        trace.map(|trace| trace.spans).unwrap_or_default()
    };
    let processed = |span: &CompletedSpan| span.name() == "process tasks:run:tasks";
    platform.until("the spans ended", async || spans().await.iter().any(processed)).await;
    let spans = spans().await;
    let process = spans.iter().find(|span| processed(span)).expect("was there");
    assert_eq!(process.kind(), &SpanKind::Consumer);
    let attempt = spans.iter().find(|span| span.name() == "run flaky").expect("ended before");
    assert_eq!(attempt.parent_id(), process.id());
    assert!(attempt.has_failed());
    let has = |key: &str, value: &str| attempt.attribute(key).as_deref() == Some(value);
    assert!(has("task.id", &id.to_string()) && has("task.attempt", "1"));
    assert!(has("task.outcome", "failed") && has("error.type", "flaky"));
}
