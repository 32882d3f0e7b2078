use std::time::Instant;

use miniapp_test_support::collector::{Collector, Mood};
use miniapp_test_support::eventually;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::*;
use crate::ProgramInfo;
use crate::config::OtlpProtocol;
use crate::trace::{SpanHandle, now};
use miniapp_config::Config;

fn settings(url: &str, change: &[(&str, &str)]) -> TelemetryConfig {
    let mut variables = vec![("HOME", "/"), ("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
    variables.push(("OTEL_BSP_SCHEDULE_DELAY", "20"));
    variables.extend(change);
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::load_from(None, variables).and_then(|config| config.section()).expect("valid")
}

fn exporter(url: &str, change: &[(&str, &str)]) -> Exporter {
    let settings = settings(url, change);
    let program =
        ProgramInfo { service: "api", version: "1.0.0", revision: None, keeps_traces: false };
    let resources = Resources::new(program, &settings);
    Exporter::start(&settings, resources).expect("it starts").expect("it sends")
}

fn span(service: &'static str, name: &'static str) -> CompletedSpan {
    let context = SpanContext::new(
        TraceId::from(7),
        SpanId::from(8),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let parent = SpanHandle::new(context, Some(service));
    CompletedSpan::internal(name, &parent, now(), now()).with_attribute("key", "value")
}

/// Flushes on another thread, because the collector needs this one.
async fn flushed(exporter: &Exporter, timeout: Duration) -> bool {
    let exporter = exporter.clone();
    tokio::task::spawn_blocking(move || exporter.flush(timeout)).await.expect("no panic")
}

#[test]
fn target_follows_opentelemetrys_endpoint_rules() {
    let target = |url: &str, change: &[(&str, &str)]| {
        let target = Target::of(&settings(url, change)).expect("valid").expect("somewhere");
        (target.url, target.protocol)
    };
    assert!(Target::of(&settings("", &[])).expect("valid").is_none());
    assert_eq!(target("http://c:4317", &[]), ("http://c:4317".to_owned(), OtlpProtocol::Grpc));
    let http = ("http://c:4318/v1/traces".to_owned(), OtlpProtocol::Http);
    assert_eq!(target("http://c:4318", &[]), http);
    assert_eq!(target("http://c:4318/", &[]), http);
    let protocol_set = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    assert_eq!(target("http://c/base", &protocol_set).0, "http://c/base/v1/traces");
    let traces = [protocol_set[0], ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://d/as/it/is")];
    assert_eq!(target("http://c", &traces).0, "http://d/as/it/is");
    for (url, expected) in [
        ("http://c:4318?key=a/b", "http://c:4318/v1/traces?key=a/b"),
        ("http://c:4318/?key=v", "http://c:4318/v1/traces?key=v"),
        ("http://c:4318/base/?key=v&x", "http://c:4318/base/v1/traces?key=v&x"),
    ] {
        assert_eq!(target(url, &[]).0, expected);
    }
    let traces = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://d:4318/as/it/is?key=v")];
    assert_eq!(target("http://c", &traces).0, "http://d:4318/as/it/is?key=v");
    for disabled in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "NONE")] {
        assert!(Target::of(&settings("http://c:4317", &[disabled])).expect("valid").is_none());
    }
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_eq!(target("http://c:4318", &grpc), ("http://c:4318".to_owned(), OtlpProtocol::Grpc));
}

#[tokio::test]
async fn spans_arrive_with_every_protocol_and_compression() {
    for protocol in ["grpc", "http/protobuf"] {
        for compression in ["none", "gzip"] {
            let collector = Collector::start().await;
            let change = [
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
                ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20abc, x-tenant=t"),
            ];
            let exporter = exporter(&collector.url(), &change);
            exporter.accept(span("api", "one"));
            exporter.accept(span("worker", "two"));
            exporter.accept(span("api", "three"));
            let spans = eventually("they arrive", async || {
                Some(collector.spans()).filter(|spans| spans.len() == 3)
            });
            let spans = spans.await;
            let mut names: Vec<(&str, &str)> =
                spans.iter().map(|span| (span.service.as_str(), span.name.as_str())).collect();
            names.sort_unstable();
            assert_eq!(names, [("api", "one"), ("api", "three"), ("worker", "two")]);
            assert_eq!(spans[0].attribute("key"), "value");
            assert!(!spans[0].attributes.contains_key("service.name"), "belongs to the resource");
            let headers = &collector.requests()[0].headers;
            assert_eq!(headers["authorization"], "Bearer abc", "{protocol}");
            assert_eq!(headers["x-tenant"], "t", "{protocol}");
            let agent = headers["user-agent"].to_str().expect("a text");
            assert!(agent.starts_with("miniapp/"), "{agent}");
        }
    }
}

#[tokio::test]
async fn silent_collector_delays_an_export_by_the_timeout() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = Collector::start().await;
        collector.behave(Mood::Silent);
        let change =
            [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_EXPORTER_OTLP_TIMEOUT", "200")];
        let exporter = exporter(&collector.url(), &change);
        exporter.accept(span("api", "one"));
        eventually("it is received", async || (!collector.requests().is_empty()).then_some(()))
            .await;
        collector.behave(Mood::Willing);
        // The first attempt times out, another one succeeds.
        eventually("it arrives", async || (collector.spans().len() == 1).then_some(())).await;
        exporter.accept(span("api", "two"));
        assert!(flushed(&exporter, Duration::from_secs(5)).await, "{protocol}");
    }
}

#[tokio::test]
async fn flush_sends_queued_spans() {
    let collector = Collector::start().await;
    let exporter = exporter(&collector.url(), &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    for _ in 0..10 {
        exporter.accept(span("api", "last"));
    }
    assert!(flushed(&exporter, Duration::from_mins(1)).await);
    assert_eq!(collector.spans().len(), 10);
}

#[tokio::test]
async fn unavailable_collector_gets_spans_later() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = Collector::start().await;
        collector.behave(Mood::Unavailable);
        let exporter = exporter(&collector.url(), &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]);
        exporter.accept(span("api", "delayed"));
        eventually("a request", async || (!collector.requests().is_empty()).then_some(())).await;
        collector.behave(Mood::Willing);
        eventually("the span arrives", async || (collector.spans().len() == 1).then_some(())).await;
        assert!(collector.requests().len() > 1);
    }
}

#[tokio::test]
async fn refused_spans_are_counted_and_not_retried() {
    for (mood, count) in [(Mood::Refusing, 3), (Mood::Picky(2), 2)] {
        for protocol in ["grpc", "http/protobuf"] {
            let collector = Collector::start().await;
            collector.behave(mood);
            let exporter = exporter(&collector.url(), &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]);
            let before = dropped::total();
            for _ in 0..3 {
                exporter.accept(span("api", "refused"));
            }
            assert!(flushed(&exporter, Duration::from_mins(1)).await);
            let requests = collector.requests().len();
            assert!(dropped::total() >= before + count, "{mood:?} by {protocol}");
            exporter.accept(span("api", "another"));
            assert!(flushed(&exporter, Duration::from_mins(1)).await);
            assert_eq!(collector.requests().len(), requests + 1);
        }
    }
}

#[tokio::test]
async fn absent_or_slow_collector_blocks_nobody() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("an address");
    let slow = Collector::start().await;
    slow.behave(Mood::Slow(Duration::from_hours(1)));
    for url in ["http://127.0.0.1:1".to_owned(), format!("http://{silent}"), slow.url()] {
        let exporter = exporter(&url, &[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]);
        let (before, began) = (dropped::total(), Instant::now());
        for _ in 0..5000 {
            exporter.accept(span("api", "dropped"));
        }
        // No call waited: a second would be a fifth of a millisecond each.
        assert!(began.elapsed() < Duration::from_secs(5), "{url}");
        assert!(dropped::total() >= before + 4000, "{url}");
        let began = Instant::now();
        flushed(&exporter, Duration::from_millis(200)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{url} delays the end");
    }
}
