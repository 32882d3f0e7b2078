//! The collector's configuration.

use std::collections::BTreeSet;
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
    jaeger.accepts(&["validate", "--config", "collector/config.yaml"]);
    let (is_content, said) = jaeger.run(&["validate", "--config", "collector/health.yaml"]);
    assert!(!is_content && said.contains("health_check"), "the tool can say no: {said}");
}

#[test]
#[ignore = "needs the OpenTelemetry Collector"]
fn otelcol_accepts_configuration() {
    let collector = programs::collector();
    let files = ["--config", "collector/config.yaml", "--config", "collector/health.yaml"];
    collector.accepts(&[&["validate"], &files[..]].concat());
}

/// Pushed and scraped metrics have the same names, so that dashboards and alerts serve both.
/// Jaeger contains the collector.
#[tokio::test]
#[ignore = "needs Jaeger, PostgreSQL and RabbitMQ"]
async fn metrics_pushed_to_jaeger_have_the_scraped_names() {
    let collector = programs::jaeger();
    let directory = tempfile::tempdir().expect("a directory");
    let [grpc, shown] = [ports::free(), ports::free()].map(|port| format!("127.0.0.1:{port}"));
    let running = start(&collector, &grpc, &shown, directory.path());
    let load = Load::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{grpc}")),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
    ])
    .await;
    let url = format!("http://{shown}/metrics");
    tokio::select! {
        never = load.go_on() => never,
        () = compare(&load, &url) => {}
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
        ("TELEMETRY_HOST", "127.0.0.1".to_owned()),
        ("TELEMETRY_PORT", ports::free().to_string()),
    ];
    let log = directory.join("collector.log");
    collector.start(&["--config", "collector/config.yaml"], &variables, &log)
}

async fn compare(load: &Load, url: &str) {
    let shown = async |url: &str| {
        let answer = Answer::try_to(client().get(url)).await.ok()?;
        Some(families(&String::from_utf8_lossy(&answer.body)))
    };
    for (job, addresses) in load.targets() {
        let own = shown(&format!("http://{}/metrics", addresses[0])).await.expect("metrics");
        assert!(own.len() > 15, "{job}: {own:?}");
        eventually(&format!("all of {job} has come through"), async || {
            let passed = shown(url).await?;
            let missing: Vec<&String> = own.difference(&passed).collect();
            if missing.is_empty() {
                Some(())
            } else {
                eprintln!("not yet: {missing:?}");
                None
            }
        })
        .await;
    }
}

/// The names of all metrics with their types.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(str::to_owned).collect()
}
