//! The collector's configuration.

use std::time::Duration;

use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::ports;

use crate::observability::load::Load;
use crate::observability::programs::{self, Program};

/// Jaeger contains the collector without its extensions.
#[test]
#[ignore = "needs Jaeger"]
fn jaeger_accepts_pipelines_of_the_collector() {
    let jaeger = programs::jaeger();
    jaeger.expect_success(&["validate", "--config", "collector/config.yaml"]);
    let (has_succeeded, output) = jaeger.run(&["validate", "--config", "collector/health.yaml"]);
    assert!(
        !has_succeeded && output.contains("health_check"),
        "an invalid file is accepted: {output}"
    );
}

#[test]
#[ignore = "needs the OpenTelemetry Collector"]
fn otelcol_accepts_configuration() {
    let collector = programs::collector();
    let files = ["--config", "collector/config.yaml", "--config", "collector/health.yaml"];
    collector.expect_success(&[&["validate"], &files[..]].concat());
}

/// The metrics of dashboards and rules that the collector derives from spans. Jaeger contains the
/// collector.
#[tokio::test]
#[ignore = "needs Jaeger, PostgreSQL and RabbitMQ"]
async fn jaeger_as_collector_counts_the_spans_of_each_service() {
    let collector = programs::jaeger();
    let directory = tempfile::tempdir().expect("a directory");
    let [grpc, shown] = [ports::free(), ports::free()].map(|port| format!("127.0.0.1:{port}"));
    let running = start(&collector, &grpc, &shown, directory.path());
    let endpoint = format!("http://{grpc}");
    let load = Load::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let url = format!("http://{shown}/metrics");
    tokio::select! {
        never = load.go_on() => never,
        () = counts_of_each_service(&load, &url) => {}
    }
    // The platform works on without the collector.
    drop(running);
    tokio::time::timeout(Duration::from_mins(1), load.once()).await.expect("all goes on");
}

fn start(
    collector: &Program,
    grpc: &str,
    shown: &str,
    directory: &std::path::Path,
) -> crate::observability::programs::Running {
    let local = |port: u16| format!("127.0.0.1:{port}");
    let variables = [
        ("OTLP_GRPC_LISTEN", grpc.to_owned()),
        ("OTLP_HTTP_LISTEN", local(ports::free())),
        ("PROMETHEUS_LISTEN", shown.to_owned()),
        ("JAEGER_ENDPOINT", local(ports::free())),
        ("SPAN_METRICS_INTERVAL", "1s".to_owned()),
        ("TELEMETRY_HOST", "127.0.0.1".to_owned()),
        ("TELEMETRY_PORT", ports::free().to_string()),
    ];
    let log = directory.join("collector.log");
    collector.start(&["--config", "collector/config.yaml"], &variables, &log)
}

async fn counts_of_each_service(load: &Load, url: &str) {
    for (job, _) in load.targets() {
        let label = format!("service_name=\"{job}\"");
        eventually(&format!("the spans of {job} are counted"), async || {
            let answer = Answer::try_to(client().get(url)).await.ok()?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let mut calls =
                text.lines().filter(|line| line.starts_with("traces_span_metrics_calls_total"));
            calls.any(|line| line.contains(&label)).then_some(())
        })
        .await;
    }
}
