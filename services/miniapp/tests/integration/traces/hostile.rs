//! Trace context from untrusted callers.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::http::{Answer, Wire};
use miniapp_test_support::platform::task;
use miniapp_test_support::traces::Trace;
use miniapp_types::task::Status;
use serde_json::json;

use crate::traces::support::{has_attempts, trace_of, traced};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Must not appear in any span.
const CARD: &str = "4111111111111111";
const ZEROS: &str = "00-00000000000000000000000000000000-0000000000000000-01";

#[tokio::test]
async fn invalid_trace_context_is_ignored() {
    let collector = Collector::start().await;
    let platform = traced(&collector.url()).start().await;
    let user = platform.sign_up("ada").await;
    let long = "x".repeat(6000);
    let contexts: [&[(&str, &str)]; 9] = [
        &[("traceparent", "")],
        &[("traceparent", "nonsense")],
        &[("traceparent", ZEROS)],
        &[("traceparent", &long)],
        &[("traceparent", PARENT), ("traceparent", PARENT)],
        &[("traceparent", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
        &[("tracestate", "=,=,,=,"), ("baggage", "=,;;,=%%%,%zz=%")],
        &[("traceparent", PARENT), ("tracestate", "=,=,,=,"), ("baggage", "=,;;,=%%%,%zz=%")],
        &[("traceparent", PARENT), ("tracestate", &long), ("baggage", &long)],
    ];
    for context in contexts {
        let mut request = user.api("POST", "/api/tasks").json(&task("echo", &json!(1)));
        for (name, value) in context {
            request = request.header(*name, *value);
        }
        let answer = Answer::to(request).await.expect(201);
        let id = answer.header("x-trace-id");
        assert!(id.len() == 32 && id.bytes().any(|digit| digit != b'0'), "{id:?}");
        assert_eq!(answer.text("traceId"), id);
        let task = answer.text("taskId").parse().expect("a UUID");
        user.until(task, Status::Finished).await;
    }
    // A head above the limit is rejected, and the next request is served.
    let mut wire = Wire::to(&platform.api()).await;
    let head = format!("GET /api/kinds HTTP/1.1\r\nhost: a\r\nbaggage: {}", "x".repeat(1 << 20));
    // The server may stop reading in the middle of the head.
    let _ = wire.send(head).await;
    let _ = wire.send("\r\n\r\n").await;
    let answer = wire.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    Answer::to(user.api("GET", "/api/kinds")).await.expect(200);
}

#[tokio::test]
async fn baggage_is_forwarded_and_listed_keys_are_recorded() {
    let collector = Collector::start().await;
    let program = traced(&collector.url()).set("telemetry.baggage_keys", "tenant,region");
    let platform = program.set("log.level", "debug").start().await;
    let user = platform.sign_up("ada").await;
    let submit = user.api("POST", "/api/tasks").json(&task("echo", &json!(1)));
    let submit = submit.header("traceparent", PARENT);
    let submit = submit.header("baggage", format!("tenant=a%20b;p=1,card={CARD}"));
    let answer = Answer::to(submit).await.expect(201);
    let task = user.until(answer.text("taskId").parse().expect("a UUID"), Status::Finished).await;
    let trace = collector.spans_when(trace_of(&task), |trace| has_attempts(trace, 1)).await;
    let request = trace.only("POST /api/tasks");
    assert_eq!(request.attribute("baggage.tenant"), "a b");
    assert!(!format!("{:?}", collector.requests()).contains(CARD));
    let ended = platform.stop().await;
    assert!(!ended.log.contains(CARD), "{}", ended.log);
}

#[tokio::test]
async fn long_attributes_are_truncated() {
    let collector = Collector::start().await;
    let program = traced(&collector.url()).set_variable("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 100);
    let platform = program.start().await;
    let request = platform.api_request("GET", &format!("/{}", "p".repeat(2000)));
    let answer = Answer::to(request.header("user-agent", "a".repeat(3000))).await.expect(404);
    let id = answer.header("x-trace-id");
    let trace = collector.trace_when(id, |trace: &Trace| !trace.spans.is_empty()).await;
    let request = trace.only("GET");
    assert_eq!(request.attribute("user_agent.original"), "a".repeat(100));
    assert_eq!(request.attribute("url.path"), format!("/{}", "p".repeat(99)));
}
