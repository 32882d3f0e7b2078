//! Traces of the platform in one process.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::Program;
use miniapp_test_support::traces::{Span, Trace};
use miniapp_types::task::Status;
use serde_json::json;

use crate::traces::checks::expect_traces;
use crate::traces::support::{Names, TracedTasks, has_attempts, trace_of, traced};

const NAMES: Names = Names { shared: &["miniapp"], broker: "miniapp_memory", database: "sqlite" };

#[tokio::test]
async fn services_in_one_process_have_their_own_spans() {
    let collector = Collector::start().await;
    let platform = traced(&collector.url()).start().await;
    let user = platform.sign_up("ada").await;
    let tasks = TracedTasks::run(&user).await;
    expect_traces(&tasks, &collector, NAMES).await;
    let ended = platform.stop().await;
    assert!(ended.status.success(), "{}", ended.log);
}

#[tokio::test]
async fn trace_includes_event_streams() {
    let collector = Collector::start().await;
    let platform = traced(&collector.url()).start().await;
    let user = platform.sign_up("ada").await;
    let task = user.submit("sleep", &json!({ "seconds": 0.5 })).await;
    let watched = user.api("GET", &format!("/api/tasks/{}/events", task.task_id));
    let watched = Answer::to(watched.header("accept", "text/event-stream")).await.expect(200);
    assert!(String::from_utf8_lossy(&watched.body).contains("event: finished"), "{watched:?}");
    let is_whole = |trace: &Trace| has_attempts(trace, 1) && finished(trace).len() == 1;
    let trace = collector.trace_when(trace_of(&task), is_whole).await;
    trace.expect_valid();
    let published = finished(&trace)[0];
    let task_id = task.task_id.to_string();
    assert_eq!((published.service.as_str(), published.attribute("task.id")), ("api", &*task_id));
    assert_eq!(published.parent, trace.only("POST /api/tasks").id);
    assert!(published.start >= trace.only("claim").end, "{trace}");
}

/// With the default settings: other requests, of users and of monitoring, do not displace the trace
/// of a task.
#[tokio::test]
async fn task_is_traced_despite_many_other_requests() {
    let platform = Program::new(env!("CARGO_BIN_EXE_miniapp")).start().await;
    let user = platform.sign_up("ada").await;
    for _ in 0..40 {
        Answer::to(user.api("GET", "/api/tasks")).await.expect(200);
    }
    let task = user.submit("echo", &json!(1)).await;
    user.until(task.task_id, Status::Finished).await;
    for _ in 0..600 {
        Answer::to(platform.admin_request("/livez")).await.expect(200);
    }
    let trace = Answer::to(platform.admin_request(&format!("/traces/{}", trace_of(&task)))).await;
    let trace = miniapp_telemetry::trace::Trace::from_json(&trace.expect(200).json());
    assert!(trace.spans.iter().any(|span| span.name() == "POST /api/tasks"), "{trace:?}");
    assert!(trace.spans.iter().any(|span| span.name() == "run echo"), "{trace:?}");
}

#[tokio::test]
async fn shutdown_flushes_spans() {
    let collector = Collector::start().await;
    let program = traced(&collector.url()).set("telemetry.batch_delay", "1h");
    let program = program.set_variable("OTEL_BSP_SCHEDULE_DELAY", "");
    let platform = program.start().await;
    let user = platform.sign_up("ada").await;
    let task = user.submit("echo", &json!(1)).await;
    user.until(task.task_id, Status::Finished).await;
    platform.stop().await;
    assert!(has_attempts(&collector.trace(trace_of(&task)), 1));
}

fn finished(trace: &Trace) -> Vec<&Span> {
    let published = trace.named("publish task-events");
    published.filter(|span| span.attribute("event.type") == "finished").collect()
}
