//! Checks of task traces, for any backend.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::traces::{Span, Trace};
use miniapp_types::task::Task;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::traces::support::{Names, TracedTasks, has_attempts, trace_of};

/// The share of the time from submission to outcome that spans have to cover.
const EXPLAINED: f64 = 0.95;

/// The number of attempts of each trace.
pub fn attempts(name: &str) -> usize {
    if name == "retried" { 3 } else { 1 }
}

/// Checks that `collector` receives each trace completely.
pub async fn expect_traces(tasks: &TracedTasks, collector: &Collector, names: Names) {
    for (name, task) in tasks.all() {
        let is_whole = |trace: &_| has_attempts(trace, attempts(name));
        let trace = collector.trace_when(trace_of(task), is_whole).await;
        expect_trace(name, tasks, &trace, names);
    }
}

/// Checks the trace of a trace.
#[track_caller]
pub fn expect_trace(name: &str, tasks: &TracedTasks, trace: &Trace, names: Names) {
    match name {
        "plain" => expect_task(trace, &tasks.plain, &["finished"], names),
        "retried" => {
            expect_task(trace, &tasks.retried, &["failed", "failed", "finished"], names);
            assert_eq!(trace.count("wait for retry"), 2, "{trace}");
        }
        "canceled" => expect_task(trace, &tasks.canceled, &["canceled"], names),
        "expired" => expect_task(trace, &tasks.expired, &["expired"], names),
        _ => {
            expect_task(trace, &tasks.delayed, &["finished"], names);
            let wait = trace.only("wait until due");
            assert!(wait.end - wait.start > 1_000_000_000, "{trace}");
        }
    }
}

/// Checks that the trace shows all steps of a task whose attempts had these outcomes.
#[track_caller]
pub fn expect_task(trace: &Trace, task: &Task, outcomes: &[&str], names: Names) {
    trace.expect_valid();
    let request = trace.only("POST /api/tasks");
    assert!(request.parent.is_empty(), "{trace}");
    expect(request, "api", SpanKind::Server);
    let id = task.task_id.to_string();
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/tasks"),
        ("url.path", "/api/tasks"),
        ("url.scheme", "http"),
        ("http.response.status_code", "201"),
        ("server.address", "127.0.0.1"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("task.id", id.as_str()),
    ] {
        assert_eq!(request.attribute(key), value, "{key} of {request:?}");
    }
    assert!(!request.attribute("server.port").is_empty());

    let commit = trace.only("INSERT tasks");
    assert_eq!((commit.parent.as_str(), commit.kind), (request.id.as_str(), SpanKind::Client));
    assert_eq!(commit.service, "api");
    assert_eq!(commit.attribute("db.system.name"), names.database);
    assert_eq!(commit.attribute("db.collection.name"), "tasks");
    assert!(commit.attribute("db.operation.batch.size").parse::<u32>().is_ok_and(|size| size > 0));

    let mut publishes: Vec<&Span> = trace.named("publish tasks:run").collect();
    publishes.sort_by_key(|publish| publish.start);
    assert_eq!(publishes.len(), outcomes.len(), "{trace}");
    let mut before: Option<&Span> = None;
    for (number, (publish, outcome)) in publishes.iter().zip(outcomes).enumerate() {
        expect_publish(trace, publish, &id, names);
        let process = expect_attempt(trace, publish, task, names);
        assert_eq!(process.attribute("task.attempt"), (number + 1).to_string());
        assert_eq!(process.attribute("task.outcome"), *outcome, "{process:?}");
        assert_eq!(process.failed, *outcome == "failed", "{process:?}");
        let links: Vec<&str> = before.iter().map(|before| before.id.as_str()).collect();
        assert_eq!(process.links, links, "{trace}");
        before = Some(process);
    }

    let outcome = trace.named("commit outcome").map(|commit| commit.end).max();
    let explained = trace.explained(request.start, outcome.expect("an outcome"));
    assert!(explained >= EXPLAINED, "only {explained:.3} of the time is explained: {trace}");
}

#[track_caller]
fn expect_publish(trace: &Trace, publish: &Span, task: &str, names: Names) {
    assert_eq!(publish.kind, SpanKind::Producer);
    assert!(names.shared.contains(&publish.service.as_str()), "{publish:?}");
    let root = trace.only("POST /api/tasks");
    assert_eq!(publish.parent, root.id, "{trace}");
    for (key, value) in [
        ("messaging.system", names.broker),
        ("messaging.operation.name", "publish"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "tasks:run"),
        ("messaging.message.conversation_id", task),
        ("task.id", task),
    ] {
        assert_eq!(publish.attribute(key), value, "{key} of {publish:?}");
    }
    assert!(!publish.attribute("messaging.message.id").is_empty());
    let key = publish.attribute("messaging.rabbitmq.destination.routing_key");
    assert_eq!(key, if names.broker == "rabbitmq" { "run" } else { "" });
    // The wait that the cancel ended.
    let outbox = trace.named("wait in outbox").find(|wait| Trace::is_same(wait.end, publish.start));
    let outbox = outbox.unwrap_or_else(|| panic!("no wait before {publish:?}: {trace}"));
    assert_eq!(outbox.parent, root.id);
}

#[track_caller]
fn expect_attempt<'t>(trace: &'t Trace, publish: &Span, task: &Task, names: Names) -> &'t Span {
    let below: Vec<&Span> = trace.children(publish).collect();
    let [queue, process] = below[..] else { panic!("not a wait and its end: {trace}") };
    assert_eq!((queue.name.as_str(), process.name.as_str()), ("wait in queue", PROCESS));
    expect(process, "worker", SpanKind::Consumer);
    trace.expect_in_order(&[queue, process]);
    assert!(Trace::is_same(queue.start, publish.start), "{trace}");
    let id = task.task_id.to_string();
    for (key, value) in [
        ("messaging.system", names.broker),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "tasks:run:tasks"),
        ("messaging.message.id", publish.attribute("messaging.message.id")),
        ("messaging.message.conversation_id", id.as_str()),
        ("task.id", id.as_str()),
        ("task.kind", task.kind.as_str()),
        ("task.generation", "1"),
    ] {
        assert_eq!(process.attribute(key), value, "{key} of {process:?}");
    }
    let tag = process.attribute("messaging.rabbitmq.message.delivery_tag");
    assert_eq!(tag.parse::<u64>().is_ok(), names.broker == "rabbitmq", "{process:?}");

    let run = format!("run {}", task.kind);
    let steps: Vec<&Span> = trace.children(process).collect();
    let published: Vec<(&str, SpanKind)> =
        steps.iter().map(|step| (step.name.as_str(), step.kind)).collect();
    let expected = [
        ("wait for slot", SpanKind::Internal),
        ("claim", SpanKind::Client),
        ("ack tasks:run:tasks", SpanKind::Client),
        (run.as_str(), SpanKind::Internal),
        ("commit outcome", SpanKind::Client),
    ];
    assert_eq!(published, expected, "{trace}");
    assert!(steps.iter().all(|step| step.service == "worker"), "{trace}");
    trace.expect_in_order(&steps);
    for step in [steps[1], steps[4]] {
        assert_eq!(step.attribute("db.system.name"), names.database);
        let size = step.attribute("db.operation.batch.size").parse::<u32>();
        assert!(size.is_ok_and(|size| size > 0), "{step:?}");
    }
    assert_eq!(steps[2].attribute("messaging.operation.type"), "settle");
    assert_eq!(steps[3].attribute("task.outcome"), process.attribute("task.outcome"));
    process
}

const PROCESS: &str = "process tasks:run:tasks";

#[track_caller]
fn expect(span: &Span, service: &str, kind: SpanKind) {
    assert_eq!((span.service.as_str(), span.kind), (service, kind), "{span:?}");
    assert_eq!(span.resource["service.namespace"], "miniapp");
    assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert!(!span.resource["service.instance.id"].is_empty());
}

/// Checks that the trace shows an attempt whose worker was killed, and the next one, which
/// finished.
#[track_caller]
pub fn expect_lost_attempt(trace: &Trace, task: &Task) {
    trace.expect_valid();
    let lost = trace.only("attempt lost");
    assert!(lost.failed, "{lost:?}");
    assert_eq!(lost.attribute("error.type"), "lease_lost");
    assert_eq!(lost.attribute("task.id"), task.task_id.to_string());
    let finished =
        trace.named(PROCESS).find(|process| process.attribute("task.outcome") == "finished");
    let finished = finished.unwrap_or_else(|| panic!("it never finished: {trace}"));
    assert_eq!(finished.links, std::slice::from_ref(&lost.id), "{trace}");
    assert_eq!(finished.attribute("task.attempt"), "2");
    let request = trace.only("POST /api/tasks");
    let outcome = trace.children(finished).find(|step| step.name == "commit outcome");
    let explained = trace.explained(request.start, outcome.expect("an outcome").end);
    assert!(explained >= EXPLAINED, "only {explained:.3} of the time is explained: {trace}");
}
