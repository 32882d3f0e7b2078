use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_proto::tonic::metrics::v1::{Metric, exemplar, metric, number_data_point};
use prometheus_client::encoding::EncodeLabelSet;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::Service;
use crate::config::Config;
use crate::lifecycle::Shutdown;
use crate::metrics::{self, Exemplar};
use crate::telemetry::Identity;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shape {
    shape: &'static str,
    nothing: &'static str,
}

const ROUND: Shape = Shape { shape: "round", nothing: "" };

async fn sent() -> Vec<Metric> {
    let request = request(Resource::default(), Times { began: 1, now: 2 }).await.expect("encoded");
    request.resource_metrics.into_iter().next().expect("one").scope_metrics.remove(0).metrics
}

fn named<'m>(metrics: &'m [Metric], name: &str) -> &'m Metric {
    metrics.iter().find(|metric| metric.name == name).expect(name)
}

#[tokio::test]
async fn numbers_are_the_same_in_both_worlds() {
    let (trace, span) = (TraceId::from(0xab_u128), SpanId::from(0xcd_u64));
    let context = SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default());
    let times = metrics::histograms("otlp_test_duration", "How long", &[0.1, 1.0]);
    for (milliseconds, exemplar) in
        [(50, None), (70, Exemplar::of(&context)), (500, None), (9000, None)]
    {
        times.observe(&ROUND, Duration::from_millis(milliseconds), exemplar);
    }
    metrics::counters("otlp_test_things", "Things", []).get_or_create(&ROUND).inc_by(3);
    metrics::gauge("otlp_test_size_bytes", "Size").set(-7);

    let metrics = sent().await;
    let counted = named(&metrics, "otlp_test_duration");
    assert_eq!((counted.unit.as_str(), counted.description.as_str()), ("s", "How long."));
    let Some(metric::Data::Histogram(histogram)) = &counted.data else { panic!("{counted:?}") };
    let [point] = histogram.data_points.as_slice() else { panic!("{histogram:?}") };
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
    assert_eq!((point.bucket_counts.as_slice(), point.count), ([2, 1, 1].as_slice(), 4));
    assert_eq!(point.explicit_bounds, [0.1, 1.0]);
    assert_eq!(point.sum, Some(9.62));
    let [attribute] = point.attributes.as_slice() else { panic!("{point:?}") };
    assert_eq!(attribute.key, "shape", "what says nothing isn't said");
    let [example] = point.exemplars.as_slice() else { panic!("{point:?}") };
    assert_eq!(
        (&example.trace_id[..], &example.span_id[..]),
        (&trace.to_bytes()[..], &span.to_bytes()[..])
    );
    assert_eq!(example.value, Some(exemplar::Value::AsDouble(0.07)));
    assert!(example.time_unix_nano > 1_700_000_000_000_000_000);

    let things = named(&metrics, "otlp_test_things");
    let Some(metric::Data::Sum(sum)) = &things.data else { panic!("{things:?}") };
    assert!(sum.is_monotonic);
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(3.0)));
    let size = named(&metrics, "otlp_test_size");
    assert_eq!(size.unit, "By");
    let Some(metric::Data::Gauge(gauge)) = &size.data else { panic!("{size:?}") };
    assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(-7.0)));
    assert!(named(&metrics, "process_cpu").unit == "s");
}

/// A collector that speaks HTTP, and what it is sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (heard, hearing) = mpsc::unbounded_channel();
    let take = move |headers: HeaderMap, body: Bytes| {
        let _ = heard.send((headers, body));
        async {}
    };
    let router = Router::new().route("/v1/metrics", post(take));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, hearing)
}

fn pusher(variables: &[(&str, &str)]) -> Option<Pusher> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let home = [("HOME".to_owned(), "/nowhere".to_owned())];
    let config = Config::load_from(None, variables.chain(home)).expect("valid");
    let identity = Identity::new(&config.telemetry).of(Service::Worker);
    Pusher::new(&config.telemetry, &identity).expect("a client")
}

#[tokio::test]
async fn a_collector_is_sent_all_of_it_and_told_who_says_so() {
    let (url, mut heard) = collector().await;
    let pusher = pusher(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "20"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
    ]);
    let stop = Shutdown::new();
    let running = tokio::spawn(pusher.expect("an endpoint").run(stop.clone()));
    let (headers, body) = heard.recv().await.expect("a request");
    assert_eq!(headers["x-key"], "a secret");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportMetricsServiceRequest::decode(body).expect("a request");
    let sent = &request.resource_metrics[0];
    let said: Vec<&str> =
        sent.resource.iter().flat_map(|said| &said.attributes).map(|one| &*one.key).collect();
    for key in ["service.name", "service.instance.id", "deployment.environment"] {
        assert!(said.contains(&key), "{key}: {said:?}");
    }
    named(&sent.scope_metrics[0].metrics, "process_cpu");
    heard.recv().await.expect("another one, after a while");
    stop.begin();
    running.await.expect("no panic");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_a_count() {
    let dead = pusher(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/v1/metrics"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10"),
    ]);
    let stop = Shutdown::new();
    let running = tokio::spawn(dead.expect("an endpoint").run(stop.clone()));
    let has_failed = || {
        let written = metrics::written(metrics::Format::Prometheus).expect("written");
        let line = "telemetry_metric_export_failures_total ";
        // Each pusher of these tests counts by itself.
        let mut counts = written.lines().filter_map(|one| one.strip_prefix(line)?.parse().ok());
        counts.any(|count: u64| count > 2)
    };
    while !has_failed() {
        tokio::task::yield_now().await;
    }
    stop.begin();
    running.await.expect("no panic");
}

#[tokio::test]
async fn a_collector_of_spans_alone_is_no_failure() {
    let (url, _heard) = collector().await;
    let elsewhere = format!("{url}/v1/no-such-signal");
    let mut pusher = pusher(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &elsewhere),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ])
    .expect("an endpoint");
    pusher.send().await;
    assert!(pusher.is_unwanted);
}

#[tokio::test]
async fn nothing_is_sent_where_nobody_asked_for_it() {
    assert!(pusher(&[]).is_none());
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
    assert!(pusher(&[endpoint]).is_some());
    assert!(pusher(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]).is_none());
}
