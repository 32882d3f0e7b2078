use std::time::Instant;

use miniapp_test_support::collector::{Collector, Mood};
use miniapp_test_support::eventually;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

use super::*;
use crate::config::OtlpProtocol;
use miniapp_config::Config;

fn settings(url: &str, change: &[(&str, &str)]) -> TelemetryConfig {
    let mut variables = vec![("HOME", "/"), ("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
    variables.push(("OTEL_BSP_SCHEDULE_DELAY", "20"));
    variables.extend(change);
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::load_from(None, variables).and_then(|config| config.section()).expect("valid")
}

fn exporter(url: &str, change: &[(&str, &str)]) -> Exporter {
    let resource = |service: &str| vec![KeyValue::new("service.name", service.to_owned())];
    Exporter::start(&settings(url, change), resource).expect("it starts").expect("it sends")
}

fn span(name: &'static str) -> SpanData {
    let context = SpanContext::new(
        TraceId::from(7),
        SpanId::from(rand::random::<u64>()),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: opentelemetry::time::now(),
        end_time: opentelemetry::time::now(),
        attributes: vec![KeyValue::new("service.name", "worker"), KeyValue::new("key", "value")],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

/// Flushes without keeping the collector, which is served by this thread, from answering.
async fn flushed(exporter: &Exporter, patience: Duration) -> bool {
    let exporter = exporter.clone();
    tokio::task::spawn_blocking(move || exporter.flush(patience)).await.expect("no panic")
}

#[test]
fn endpoints_are_read_as_opentelemetry_has_them() {
    let target = |url: &str, change: &[(&str, &str)]| {
        let target =
            Target::of(Signal::Traces, &settings(url, change)).expect("valid").expect("somewhere");
        (target.url, target.protocol)
    };
    assert!(Target::of(Signal::Traces, &settings("", &[])).expect("valid").is_none());
    assert_eq!(target("http://c:4317", &[]), ("http://c:4317".to_owned(), OtlpProtocol::Grpc));
    let http = ("http://c:4318/v1/traces".to_owned(), OtlpProtocol::Http);
    assert_eq!(target("http://c:4318", &[]), http);
    assert_eq!(target("http://c:4318/", &[]), http);
    let asked = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    assert_eq!(target("http://c/base", &asked).0, "http://c/base/v1/traces");
    let traces = [asked[0], ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://d/as/it/is")];
    assert_eq!(target("http://c", &traces).0, "http://d/as/it/is");
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_eq!(target("http://c:4318", &grpc), ("http://c:4318".to_owned(), OtlpProtocol::Grpc));
}

#[tokio::test]
async fn spans_arrive_by_every_protocol_and_packing() {
    for protocol in ["grpc", "http/protobuf"] {
        for compression in ["none", "gzip"] {
            let collector = Collector::start().await;
            let change = [
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
                ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20abc, x-tenant=t"),
            ];
            let exporter = exporter(&collector.url(), &change);
            exporter.put("api", &span("one"));
            exporter.put("worker", &span("two"));
            exporter.put("api", &span("three"));
            let spans = eventually("they arrive", async || {
                Some(collector.spans()).filter(|spans| spans.len() == 3)
            });
            let spans = spans.await;
            let mut told: Vec<(&str, &str)> =
                spans.iter().map(|span| (span.service.as_str(), span.name.as_str())).collect();
            told.sort_unstable();
            assert_eq!(told, [("api", "one"), ("api", "three"), ("worker", "two")]);
            assert_eq!(spans[0].attribute("key"), "value");
            assert!(!spans[0].attributes.contains_key("service.name"), "it is the resource's");
            let headers = &collector.requests()[0].headers;
            assert_eq!(headers["authorization"], "Bearer abc", "{protocol}");
            assert_eq!(headers["x-tenant"], "t", "{protocol}");
            let agent = headers["user-agent"].to_str().expect("a text");
            assert!(agent.starts_with("miniapp/"), "{agent}");
        }
    }
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let exporter = exporter(&collector.url(), &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    for _ in 0..10 {
        exporter.put("api", &span("last words"));
    }
    assert!(flushed(&exporter, Duration::from_mins(1)).await);
    assert_eq!(collector.spans().len(), 10);
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_what_waited() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = Collector::start().await;
        collector.behave(Mood::Unavailable);
        let exporter = exporter(&collector.url(), &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]);
        exporter.put("api", &span("patient"));
        eventually("it was asked", async || (!collector.requests().is_empty()).then_some(())).await;
        collector.behave(Mood::Willing);
        eventually("it has it", async || (collector.spans().len() == 1).then_some(())).await;
        assert!(collector.requests().len() > 1);
    }
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    for (mood, count) in [(Mood::Refusing, 3), (Mood::Picky(2), 2)] {
        for protocol in ["grpc", "http/protobuf"] {
            let collector = Collector::start().await;
            collector.behave(mood);
            let exporter = exporter(&collector.url(), &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]);
            let before = lost::so_far();
            for _ in 0..3 {
                exporter.put("api", &span("unwelcome"));
            }
            assert!(flushed(&exporter, Duration::from_mins(1)).await);
            let requests = collector.requests().len();
            assert!(lost::so_far() >= before + count, "{mood:?} by {protocol}");
            exporter.put("api", &span("another"));
            assert!(flushed(&exporter, Duration::from_mins(1)).await);
            assert_eq!(collector.requests().len(), requests + 1);
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_away_or_slow_costs_spans_and_nothing_else() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("an address");
    let slow = Collector::start().await;
    slow.behave(Mood::Slow(Duration::from_hours(1)));
    for url in ["http://127.0.0.1:1".to_owned(), format!("http://{silent}"), slow.url()] {
        let exporter = exporter(&url, &[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]);
        let (before, began) = (lost::so_far(), Instant::now());
        for _ in 0..5000 {
            exporter.put("api", &span("unheard"));
        }
        // None of them waited for anybody: a second would be a fifth of a millisecond each.
        assert!(began.elapsed() < Duration::from_secs(5), "{url}");
        assert!(lost::so_far() >= before + 4000, "{url}");
        let began = Instant::now();
        flushed(&exporter, Duration::from_millis(200)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{url} holds up the end");
    }
}
