//! Servers that accept connections and stay silent.

use std::time::{Duration, Instant};

use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::platform::support::program;

/// Listens until the set is dropped. Returns the port.
async fn silent(servers: &mut JoinSet<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    servers.spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    port
}

#[tokio::test]
async fn silent_mail_server_and_collector_delay_nothing_else() {
    let mut servers = JoinSet::new();
    let (mail, collector) = (silent(&mut servers).await, silent(&mut servers).await);
    let platform = program()
        .set("mail.url", format_args!("smtp://127.0.0.1:{mail}"))
        .set("mail.timeout", "2s")
        .set_variable("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{collector}"))
        .set_variable("OTEL_EXPORTER_OTLP_TIMEOUT", 500)
        .start()
        .await;
    let began = Instant::now();
    let body = json!({ "email": "ada@example.com" });
    let answer = platform.post_auth("/send-verification-code", &body).await;
    assert_eq!(answer.status, 202);
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
    for line in ["outbox message failed; retrying", "dropped spans"] {
        eventually(line, async || platform.log().contains(line).then_some(())).await;
    }
    assert!(platform.log().contains("timed out"), "{}", platform.log());
    let ready = Answer::to(platform.admin_request("/readyz")).await;
    assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (200, &json!("degraded")));
    let began = Instant::now();
    let ended = platform.stop().await;
    assert!(ended.status.success(), "{}", ended.log);
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
}
