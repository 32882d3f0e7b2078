//! Jaeger with its configurations.

use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::ports;

use crate::observability::programs::{self, Running};

/// Starts Jaeger with one of its configurations. Returns its query port, too.
fn start(file: &str, directory: &std::path::Path) -> (Running, u16) {
    let jaeger = programs::jaeger();
    jaeger.expect_success(&["validate", "--config", file]);
    let ports = [
        "QUERY_PORT",
        "QUERY_GRPC_PORT",
        "HEALTH_PORT",
        "OTLP_GRPC_PORT",
        "OTLP_HTTP_PORT",
        "TELEMETRY_PORT",
    ];
    let mut variables: Vec<(&str, String)> =
        ports.iter().map(|name| (*name, ports::free().to_string())).collect();
    let query = variables[0].1.parse().expect("a port");
    variables.push(("LISTEN", "127.0.0.1".to_owned()));
    variables.push(("DIRECTORY", directory.display().to_string()));
    let log = directory.join("jaeger.log");
    (jaeger.start(&["--config", file], &variables, &log), query)
}

async fn answers(port: u16) {
    eventually("Jaeger answers", async || {
        let url = format!("http://127.0.0.1:{port}/api/v3/services");
        let answer = Answer::try_to(client().get(url)).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Jaeger"]
async fn jaeger_starts_in_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_running, port) = start("jaeger/memory.yaml", directory.path());
    answers(port).await;
}

#[tokio::test]
#[ignore = "needs Jaeger"]
async fn jaeger_starts_with_badger() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_running, port) = start("jaeger/badger.yaml", directory.path());
    answers(port).await;
    assert!(directory.path().join("values").is_dir(), "traces are kept on the disk");
}
