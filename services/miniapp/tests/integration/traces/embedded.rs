//! Traces of the platform in one process.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::http::Answer;
use miniapp_test_support::traces::{Span, Trace};
use serde_json::json;

use crate::traces::checks::expect_stories;
use crate::traces::support::{Names, Stories, has_attempts, trace_of, traced};

const NAMES: Names = Names { shared: &["miniapp"], broker: "miniapp_memory", database: "sqlite" };

#[tokio::test]
async fn services_in_one_process_have_their_own_spans() {
    let collector = Collector::start().await;
    let platform = traced(&collector.url()).start().await;
    let user = platform.sign_up("ada").await;
    let stories = Stories::happen(&user).await;
    expect_stories(&stories, &collector, NAMES).await;
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

#[tokio::test]
async fn shutdown_flushes_spans() {
    let collector = Collector::start().await;
    let program = traced(&collector.url()).set("telemetry.batch_delay", "1h");
    let program = program.set_variable("OTEL_BSP_SCHEDULE_DELAY", "");
    let platform = program.start().await;
    let user = platform.sign_up("ada").await;
    let task = user.submit("echo", &json!(1)).await;
    user.until(task.task_id, miniapp_types::task::Status::Finished).await;
    platform.stop().await;
    assert!(has_attempts(&collector.trace(trace_of(&task)), 1));
}

fn finished(trace: &Trace) -> Vec<&Span> {
    let published = trace.named("publish task-events");
    published.filter(|span| span.attribute("event.type") == "finished").collect()
}
