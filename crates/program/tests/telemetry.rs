//! Telemetry of a process. There is one test because a process has one telemetry.

use std::time::Duration;

use axum::Router;
use axum::routing::get as on_get;
use http::{HeaderValue, Request};
use miniapp_config::Config;
use miniapp_http::{RouterOptions, finish};
use miniapp_runtime::health::Health;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_telemetry::ProgramInfo;
use miniapp_telemetry::trace::{self, CompletedSpan, SpanHandle};
use miniapp_test_support::http::{Answer, get};
use miniapp_types::trace::TraceContext;
use opentelemetry::trace::{SpanKind, TraceId};
use tracing::Instrument as _;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const INFO: ProgramInfo =
    ProgramInfo { service: "example", version: "1.0.0", revision: None, keeps_traces: false };

async fn handler() -> String {
    let submitted = async {
        if let Some(parent) = SpanHandle::current() {
            let began = trace::now();
            let ended = began + Duration::from_millis(7);
            CompletedSpan::internal("wait", &parent, began, ended)
                .with_attribute("queue", "tasks")
                .record();
        }
        trace::current_context()
    };
    let context = submitted.instrument(tracing::info_span!("submit")).await;
    context.traceparent.map(Into::into).unwrap_or_default()
}

#[tokio::test]
async fn spans_of_requests_and_messages_are_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config::defaults_in(directory.path()).expect("valid").with("log.level", "warn");
    let telemetry = miniapp_telemetry::init(INFO, &config).expect("first call");
    miniapp_telemetry::init(INFO, &config).expect("second call");

    let router = Router::new()
        .route("/things/{id}", on_get(handler))
        .route("/panic", on_get(async || -> () { panic!("on purpose") }));
    let router = finish(router, &RouterOptions::default());

    // A new trace is recorded.
    let answer = Answer::from_router(&router, get("/things/7?secret=1")).await;
    let parent = String::from_utf8(answer.body.to_vec()).expect("text");
    assert_eq!(&parent[3..35], answer.header("x-trace-id"));
    assert!(parent.ends_with("-01"), "{parent}");
    let id = TraceId::from_hex(answer.header("x-trace-id")).expect("an id");
    let spans = telemetry.spans();
    let kept = spans.wait_until_complete(id, Duration::from_mins(1)).await.expect("kept");
    let named = |name: &str| kept.spans.iter().find(|span| span.name() == name).expect(name);
    let (request, submit, wait) = (named("GET /things/{id}"), named("submit"), named("wait"));
    assert_eq!((submit.parent_id(), wait.parent_id()), (request.id(), submit.id()));
    assert_eq!(request.kind(), &SpanKind::Server);
    assert_eq!(wait.end(), wait.start() + Duration::from_millis(7));
    let attribute = |key: &str| request.attribute(key).unwrap_or_default();
    assert_eq!(attribute("http.request.method"), "GET");
    assert_eq!(attribute("http.route"), "/things/{id}");
    assert_eq!(attribute("url.path"), "/things/7");
    assert_eq!(attribute("http.response.status_code"), "200");
    assert!(!format!("{kept:?}").contains("secret"));

    // The caller's trace is recorded because the caller samples it.
    let request = Request::get("/panic").header("traceparent", PARENT);
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let answer = Answer::from_router(&router, request).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-trace-id")), (500, &PARENT[3..35]));
    answer.problem();
    let id = TraceId::from_hex(&PARENT[3..35]).expect("an id");
    let kept = spans.wait_until_complete(id, Duration::from_mins(1)).await.expect("kept");
    assert!(kept.spans[0].has_failed());
    assert_eq!(kept.spans[0].parent_id().to_string(), &PARENT[36..52]);

    // The caller's trace is not recorded, but responses have its id.
    let unsampled = PARENT.replace("-01", "-00").replace("4bf9", "aaaa");
    let mut request = get("/things/7");
    let value = HeaderValue::from_str(&unsampled).expect("a value");
    request.headers_mut().insert("traceparent", value);
    let answer = Answer::from_router(&router, request).await;
    let parent = String::from_utf8(answer.body.to_vec()).expect("text");
    assert_eq!((&parent[3..35], &parent[53..]), (&unsampled[3..35], "00"));
    let id = TraceId::from_hex(&unsampled[3..35]).expect("an id");
    assert!(spans.get(id).is_none());

    message_continues_its_trace(&telemetry).await;
    log_filter_can_be_changed().await;
}

async fn message_continues_its_trace(telemetry: &miniapp_telemetry::Telemetry) {
    let sent = TraceContext {
        traceparent: Some(PARENT.replace("4bf9", "bbbb").into()),
        tracestate: Some("a=1".into()),
        baggage: Some("user=1".into()),
    };
    let span = tracing::info_span!("process", otel.kind = "consumer");
    trace::set_parent(&span, &sent);
    let earlier = TraceContext { traceparent: Some(PARENT.into()), ..TraceContext::default() };
    trace::add_link(&span, &earlier);
    let inner =
        async { trace::current_context() }.instrument(tracing::info_span!(parent: &span, "inner"));
    let context = inner.await;
    assert_eq!(context.trace_id(), sent.trace_id());
    assert_eq!((&context.tracestate, &context.baggage), (&sent.tracestate, &sent.baggage));
    drop(span);
    let id = TraceId::from_hex(sent.trace_id().expect("an id")).expect("an id");
    let kept =
        telemetry.spans().wait_until_complete(id, Duration::from_mins(1)).await.expect("kept");
    assert_eq!(kept.spans.last().map(CompletedSpan::kind), Some(&SpanKind::Consumer));
    assert_eq!(trace::current_trace_id(), None);
}

async fn log_filter_can_be_changed() {
    let router = miniapp_program::admin::router(Health::new(), Shutdown::new());
    assert_eq!(Answer::from_router(&router, get("/log-level")).await.body[..], b"warn\n"[..]);
    let put = |filter: &'static str| {
        Request::put("/log-level").body(axum::body::Body::from(filter)).expect("a request")
    };
    assert_eq!(Answer::from_router(&router, put("off,miniapp_http=error")).await.status, 200);
    assert_eq!(
        Answer::from_router(&router, get("/log-level")).await.body[..],
        b"miniapp_http=error,off\n"[..]
    );
    assert_eq!(Answer::from_router(&router, put("info,=")).await.status, 400);
    assert_eq!(Answer::from_router(&router, put("warn")).await.body[..], b"warn\n"[..]);
}
