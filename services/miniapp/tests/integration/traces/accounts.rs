//! Traces of accounts, sessions and mail, and of requests between services.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{PASSWORD, Separate};
use miniapp_test_support::traces::Trace;
use miniapp_types::task::Status;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use crate::traces::separate::program;
use crate::traces::support::{has_attempts, trace_of, traced};

/// The trace id of a response.
fn trace_id(answer: &Answer) -> String {
    answer.header("x-trace-id").to_owned()
}

/// Service, name and kind of the children of the span with this name.
fn below<'t>(trace: &'t Trace, name: &str) -> Vec<(&'t str, &'t str, SpanKind)> {
    let children = trace.children(trace.only(name));
    children.map(|span| (span.service.as_str(), span.name.as_str(), span.kind)).collect()
}

#[tokio::test]
async fn mail_is_in_trace_of_its_request() {
    let collector = Collector::start().await;
    let platform = traced(&collector.url()).start().await;
    let body = json!({ "email": "ada@example.com" });
    let answer = platform.post_auth("/send-verification-code", &body).await.expect(202);
    let is_whole =
        |trace: &Trace| trace.count("send mail") == 1 && trace.count("finish_outbox_message") == 1;
    let trace = collector.trace_when(&trace_id(&answer), is_whole).await;
    trace.expect_valid();
    // The message enters the outbox when the code is created, before it is stored.
    let expected = [
        ("auth", "credentials", SpanKind::Client),
        ("auth", "wait in outbox", SpanKind::Internal),
        ("auth", "issue_code", SpanKind::Client),
        ("auth", "send mail", SpanKind::Internal),
    ];
    assert_eq!(below(&trace, "POST /send-verification-code"), expected, "{trace}");
    assert_eq!(trace.only("issue_code").attribute("db.system.name"), "sqlite");
    trace.expect_in_order(&[trace.only("wait in outbox"), trace.only("send mail")]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn revocation_is_traced_from_auth_to_api() {
    let collector = Collector::start().await;
    let program = program(&collector.url()).await;
    let mut platform = Separate::start(&program, 1, 1).await;
    let mut user = platform.sign_up("ada").await;
    let answer = Answer::to(user.auth("POST", "/sign-out")).await.expect(204);
    // The event is published at once and, in case the process had died before, from the outbox.
    let is_whole = |trace: &Trace| trace.count("process sessions") == 2;
    let trace = collector.trace_when(&trace_id(&answer), is_whole).await;
    trace.expect_valid();
    for publish in trace.named("publish sessions") {
        let published: Vec<_> = trace
            .children(publish)
            .map(|span| (span.service.as_str(), span.name.as_str(), span.kind))
            .collect();
        let expected = [
            ("api", "wait in queue", SpanKind::Internal),
            ("api", "process sessions", SpanKind::Consumer),
        ];
        assert_eq!(published, expected, "{trace}");
        assert_eq!((publish.service.as_str(), publish.kind), ("auth", SpanKind::Producer));
        assert_eq!(publish.attribute("messaging.destination.name"), "sessions");
        assert_eq!(publish.attribute("messaging.system"), "rabbitmq");
    }

    // An API that does not know the session asks auth.
    user.sign_in().await;
    platform.apis[0].kill().await;
    platform.apis[0].start_again().await;
    let answer = Answer::to(user.api("GET", "/api/tasks")).await.expect(200);
    let is_whole = |trace: &Trace| {
        ["GET /api/tasks", "POST", "POST /validate"].iter().all(|name| trace.count(name) == 1)
    };
    let trace = collector.trace_when(&trace_id(&answer), is_whole).await;
    trace.expect_valid();
    assert_eq!(below(&trace, "POST"), [("auth", "POST /validate", SpanKind::Server)]);
    let call = trace.only("POST");
    assert_eq!((call.service.as_str(), call.kind), ("api", SpanKind::Client));
    assert_eq!(call.parent, trace.only("GET /api/tasks").id);
    assert_eq!(call.attribute("url.full"), format!("{}/validate", platform.auth.url()));
    assert_eq!(call.attribute("http.response.status_code"), "200");
}

#[tokio::test]
async fn http_requests_of_a_task_are_in_its_trace() {
    let collector = Collector::start().await;
    let program = traced(&collector.url())
        .set("worker.http_allow_private", true)
        .set("worker.http_trace_hosts", "127.0.0.1");
    let platform = program.start().await;
    let user = platform.sign_up("ada").await;
    let url = format!("{}/.well-known/jwks.json?key=secret", platform.auth());
    let task = user.submit("http", &json!({ "url": url })).await;
    let task = user.until(task.task_id, Status::Finished).await;
    let trace = collector.trace_when(trace_of(&task), |trace| has_attempts(trace, 1)).await;
    trace.expect_valid();
    assert_eq!(below(&trace, "run http"), [("worker", "GET", SpanKind::Client)], "{trace}");
    let jwks = "GET /.well-known/jwks.json";
    assert_eq!(below(&trace, "GET"), [("auth", jwks, SpanKind::Server)], "{trace}");
    assert!(!format!("{trace:?}").contains("secret"), "{trace:?}");
}

#[tokio::test]
async fn account_deletion_is_traced_to_its_tasks() {
    let collector = Collector::start().await;
    let platform = traced(&collector.url()).start().await;
    let user = platform.sign_up("ada").await;
    let task = user.submit("echo", &json!(1)).await;
    user.until(task.task_id, Status::Finished).await;
    let delete = user.auth("DELETE", "/users/me").json(&json!({ "password": PASSWORD }));
    let answer = Answer::to(delete).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let process = "process accounts:deleted:account-deletions";
    let is_whole = |trace: &Trace| trace.count(process) == 1;
    let trace = collector.trace_when(&trace_id(&answer), is_whole).await;
    trace.expect_valid();
    let published = below(&trace, "publish accounts:deleted");
    assert_eq!(published.last(), Some(&("api", process, SpanKind::Consumer)), "{trace}");
    assert_eq!(below(&trace, process), [("api", "remove tasks", SpanKind::Internal)], "{trace}");
    assert_eq!(trace.children(trace.only("remove tasks")).count(), 1, "{trace}");
}

#[tokio::test]
async fn requests_link_to_trace_of_task() {
    let collector = Collector::start().await;
    let platform = traced(&collector.url()).start().await;
    let user = platform.sign_up("ada").await;
    let task = user.submit("echo", &json!(1)).await;
    let task = user.until(task.task_id, Status::Finished).await;
    let path = format!("/api/tasks/{}", task.task_id);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ask = client().get(format!("{}{path}", platform.api())).bearer_auth(user.access());
    Answer::to(ask.header("traceparent", parent)).await.expect(200);
    let name = "GET /api/tasks/{id}";
    let is_there = |trace: &Trace| trace.count(name) == 1;
    let trace = collector.spans_when(&parent[3..35], is_there).await;
    let request = trace.only(name);
    assert_eq!(request.parent, &parent[36..52]);
    assert_eq!(request.attribute("task.id"), task.task_id.to_string());
    let root = collector.trace_when(trace_of(&task), |trace| has_attempts(trace, 1)).await;
    assert_eq!(request.links, [root.only("POST /api/tasks").id.clone()]);
}
