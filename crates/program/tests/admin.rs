//! The admin listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use miniapp_runtime::health::{Condition, Health};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_test_support::TIMEOUT;
use miniapp_test_support::http::{Answer, get};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

#[tokio::test]
async fn readyz_reports_failing_checks_and_shutdown() {
    let is_available = Arc::new(AtomicBool::new(false));
    let health = Health::new();
    health.add("database", {
        let is_available = is_available.clone();
        move || {
            let is_available = is_available.load(Ordering::SeqCst);
            async move { if is_available { Ok(()) } else { anyhow::bail!("password=s3cr3t") } }
        }
    });
    let answer = Answer::from_router(
        &miniapp_program::admin::router(health, Shutdown::new()),
        get("/readyz"),
    )
    .await;
    assert_eq!(answer.status, 503);
    let expected = r#"{"status":"failing","checks":[{"name":"database","status":"failing"}]}"#;
    assert_eq!(String::from_utf8_lossy(&answer.body), expected);
    is_available.store(true, Ordering::SeqCst);
    let health = Health::new();
    health.add("database", || async { Ok(()) });
    let shutdown = Shutdown::new();
    let router = miniapp_program::admin::router(health, shutdown.clone());
    assert_eq!(Answer::from_router(&router, get("/readyz")).await.status, 200);
    shutdown.begin();
    let answer = Answer::from_router(&router, get("/readyz")).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (503, &"stopping".into()));
    assert_eq!(Answer::from_router(&router, get("/livez")).await.status, 200);
}

#[tokio::test]
async fn readyz_accepts_degraded_checks_without_details() {
    let health = Health::new();
    health.add("database", || async { Ok(Condition::Degraded("password=s3cr3t".to_owned())) });
    let answer = Answer::from_router(
        &miniapp_program::admin::router(health, Shutdown::new()),
        get("/readyz"),
    )
    .await;
    assert_eq!(answer.status, 200);
    let expected = r#"{"status":"degraded","checks":[{"name":"database","status":"degraded"}]}"#;
    assert_eq!(String::from_utf8_lossy(&answer.body), expected);
}

#[tokio::test]
async fn metrics_use_prometheus_text_and_known_routes() {
    let router = miniapp_program::admin::router(Health::new(), Shutdown::new());
    Answer::from_router(&router, get("/livez")).await;
    let answer = Answer::from_router(&router, get("/metrics")).await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let count = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
                 http_route=\"/livez\",http_response_status_code=\"200\"} ";
    assert!(text.contains(count), "{text}");
    assert!(text.contains("\nhttp_server_active_requests "), "{text}");
    Answer::from_router(&router, get("/made/up/by/a/client")).await;
    let text = Answer::from_router(&router, get("/metrics")).await.body;
    assert!(!String::from_utf8_lossy(&text).contains("made/up"));
}

#[tokio::test]
async fn metrics_use_open_metrics_if_accepted() {
    let router = miniapp_program::admin::router(Health::new(), Shutdown::new());
    let mut request = get("/metrics");
    let accept = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    request.headers_mut().insert("accept", HeaderValue::from_static(accept));
    let answer = Answer::from_router(&router, request).await;
    assert_eq!((answer.header("content-type"), answer.header("vary")), (accept, "accept"));
    assert!(answer.body.ends_with(b"# EOF\n"));
}

#[tokio::test]
async fn listener_runs_until_shutdown_is_aborted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = Shutdown::new();
    let served =
        tokio::spawn(miniapp_program::admin::serve(listener, Health::new(), shutdown.clone()));
    shutdown.begin();
    let connecting = timeout(TIMEOUT, TcpStream::connect(address)).await;
    connecting.expect("no timeout").expect("a connection");
    assert!(!served.is_finished());
    shutdown.abort();
    let served = timeout(TIMEOUT, served).await.expect("no timeout");
    served.expect("no panic").expect("no error");
}
