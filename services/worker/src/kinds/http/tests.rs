use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use miniapp_kind::testing::TestAttempt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::client::NameResolver;
use super::response::MAX_BODY;
use super::*;
use crate::config::tests::defaults;

/// Starts a server that responds with `respond` of the request head. Returns its port.
async fn server(respond: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let respond = Arc::new(respond);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let respond = respond.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = connection.read(&mut request).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..read]);
                let _ = connection.write_all(respond(&head).as_bytes()).await;
            });
        }
    });
    port
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nx-a: 1\r\nx-a: 2\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn redirect(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: {to}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
}

struct Names;

#[async_trait]
impl NameResolver for Names {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        match name {
            "inside.test" => Ok(vec![[127, 0, 0, 1].into()]),
            "metadata.test" => Ok(vec![[169, 254, 169, 254].into()]),
            _ => Err(std::io::Error::other("no such name")),
        }
    }
}

/// Without restrictions.
fn open() -> Http {
    Http::guarded(Guard::new(Names, |_| true))
}

/// With the restrictions of tasks.
fn guarded() -> Http {
    Http::guarded(Guard::new(Names, is_public))
}

/// Allows only the address of the test servers.
fn only_the_server() -> Http {
    Http::guarded(Guard::new(Names, |address| address == IpAddr::from([127, 0, 0, 1])))
}

/// With the default settings.
fn standard() -> Http {
    Http::new(&defaults())
}

async fn fetch(http: &Http, url: String) -> Result<Value, KindError> {
    request(http, json!({ "url": url })).await
}

async fn request(http: &Http, data: Value) -> Result<Value, KindError> {
    let data = serde_json::from_value(data).expect("valid data");
    let result = http.run(&TestAttempt::new().context(), data).await?;
    Ok(serde_json::to_value(result).expect("JSON"))
}

fn code(error: &KindError) -> &str {
    error.code().unwrap_or("stopped")
}

#[tokio::test]
async fn result_has_status_headers_and_body() {
    let port = server(ok).await;
    let result = fetch(&open(), format!("http://inside.test:{port}/a?b")).await.expect("an answer");
    assert_eq!(result["status"], 200);
    assert_eq!(result["headers"]["x-a"], "1, 2");
    let request = result["body"].as_str().expect("a text");
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
    for header in ["\r\nidempotency-key: 7.1\r\n", "\r\nx-attempt-id: 7-1\r\n"] {
        assert!(request.contains(header), "{request}");
    }
}

#[tokio::test]
async fn statuses_are_results_or_retried() {
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 90\r\ncontent-length: 0\r\n\r\n";
    let port = server(|_| busy.into()).await;
    let url = format!("http://127.0.0.1:{port}/");
    let error = fetch(&open(), url.clone()).await.expect_err("temporary");
    let KindError::Retryable { retry_in, .. } = error else { panic!("{error}") };
    assert_eq!(retry_in, Some(Duration::from_secs(90)));
    let data = json!({ "url": url, "expect": ["2xx", 503] });
    assert_eq!(request(&open(), data).await.expect("expected")["status"], 503);

    let port = server(|_| "HTTP/1.1 404 None\r\ncontent-length: 0\r\n\r\n".into()).await;
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(fetch(&open(), url.clone()).await.expect("an answer")["status"], 404);
    let error = request(&open(), json!({ "url": url, "expect": ["2xx"] })).await;
    assert_eq!(code(&error.expect_err("unexpected")), "unexpected_status");
}

/// Returns the kind with one secret header for the host `host`.
fn with_secret(host: &str) -> Http {
    let lines = format!("billing {host} Authorization: Bearer s3cr3t");
    let secret_headers = SecretHeaders::parse(&lines).expect("valid").allowing_http(true);
    Http { secret_headers, ..open() }
}

#[tokio::test]
async fn secret_headers_are_sent_to_their_hosts_only() {
    let received = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let record = |received: &Arc<parking_lot::Mutex<Vec<String>>>| {
        let received = received.clone();
        move |head: &str| received.lock().push(head.to_ascii_lowercase())
    };
    let recorded = record(&received);
    let other = server(move |head| {
        recorded(head);
        ok("the end")
    });
    let target = format!("http://inside.test:{}/", other.await);
    let recorded = record(&received);
    let port = server(move |head| {
        recorded(head);
        redirect(&target)
    })
    .await;
    let url = format!("http://127.0.0.1:{port}/");
    let data = json!({ "url": url, "secretHeaders": ["billing"] });
    let http = with_secret(&format!("127.0.0.1:{port}"));
    let result = request(&http, data.clone()).await.expect("an answer");
    assert!(!result.to_string().contains("s3cr3t"), "{result}");
    let heads: Vec<bool> = received
        .lock()
        .drain(..)
        .map(|head| head.contains("authorization: bearer s3cr3t"))
        .collect();
    assert_eq!(heads, [true, false]);

    let error = request(&with_secret("127.0.0.1:1"), data).await.expect_err("refused");
    assert_eq!(code(&error), "secret_refused");
    assert!(received.lock().is_empty(), "a request was sent");
}

#[tokio::test]
async fn private_addresses_and_names_are_refused() {
    let port = server(|_| ok("secret")).await;
    for host in ["127.0.0.1", "[::1]", "inside.test", "metadata.test", "2130706433"] {
        let error = fetch(&guarded(), format!("http://{host}:{port}/")).await.expect_err(host);
        assert!(matches!(error, KindError::Permanent { .. }), "{host}: {error}");
        assert_eq!(code(&error), "address_refused", "{host}");
    }
    let error = fetch(&standard(), format!("http://localhost:{port}/")).await;
    assert_eq!(code(&error.expect_err("refused")), "address_refused");
}

#[tokio::test]
async fn every_redirect_is_checked() {
    let port = server(|_| ok("the end")).await;
    let target = format!("http://inside.test:{port}/");
    let port = server(move |_| redirect(&target)).await;
    let result = fetch(&only_the_server(), format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(result.expect("followed")["body"], "the end");

    let targets = [
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://0xa.1/",
        "http://metadata.test/",
        "ftp://inside.test/",
    ];
    for target in targets {
        let port = server(move |_| redirect(target)).await;
        let refused = fetch(&only_the_server(), format!("http://127.0.0.1:{port}/")).await;
        let error = refused.expect_err(target);
        assert!(matches!(error, KindError::Permanent { .. }), "{target}: {error}");
        assert_eq!(code(&error), "address_refused", "{target}");
    }
}

/// Whether an internal name exists must not be visible.
#[tokio::test]
async fn internal_names_are_refused_alike() {
    let port = server(|_| ok("secret")).await;
    let mut messages = Vec::new();
    for host in ["localhost", "no-such-name", "redis.default.svc", "x.internal", "127.0.0.1"] {
        let error = fetch(&standard(), format!("http://{host}:{port}/")).await.expect_err(host);
        assert_eq!(code(&error), "address_refused", "{host}");
        assert!(matches!(error, KindError::Permanent { .. }), "{host}: {error}");
        messages.push(error.to_string());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let port = server(|_| redirect("http://metadata.test/")).await;
    let error = fetch(&only_the_server(), format!("http://127.0.0.1:{port}/")).await;
    let error = error.expect_err("refused").to_string();
    assert!(!error.contains("metadata") && !error.contains("169.254"), "{error}");
}

#[tokio::test]
async fn redirect_loops_end() {
    let port = server(|_| redirect("/again")).await;
    let error = fetch(&open(), format!("http://127.0.0.1:{port}/")).await.expect_err("a circle");
    assert_eq!(code(&error), "too_many_redirects");
    assert!(matches!(error, KindError::Permanent { .. }));
}

#[tokio::test]
async fn connection_errors_are_retryable() {
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = unused.local_addr().expect("bound").port();
    drop(unused);
    for url in [format!("http://127.0.0.1:{port}/"), "http://nowhere.test/".into()] {
        let error = fetch(&open(), url.clone()).await.expect_err("fails");
        assert!(matches!(error, KindError::Retryable { .. }), "{url}: {error}");
        assert_eq!(code(&error), "connection_failed");
    }
}

#[tokio::test]
async fn large_response_is_an_error() {
    let fetched = async |body: &str, headers: &str| {
        let answer =
            format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        let port = server(move |_| answer.clone()).await;
        fetch(&open(), format!("http://127.0.0.1:{port}/")).await
    };
    fetched(&"x".repeat(MAX_BODY), "").await.expect("at the limit");
    fetched(&"\u{1}".repeat(MAX_BODY / 6), "").await.expect("at the limit");
    fetched("", &format!("x-a: {}\r\n", "x".repeat(30 * 1024))).await.expect("at the limit");
    for (body, headers) in [
        ("x".repeat(MAX_BODY + 1), String::new()),
        ("\u{1}".repeat(MAX_BODY / 6 + 1), String::new()),
        ("\"".repeat(MAX_BODY / 2 + 1), String::new()),
        (String::new(), format!("x-a: {}\r\n", "x".repeat(33 * 1024))),
        (String::new(), format!("x-a: {}\r\n", "\"".repeat(17 * 1024))),
    ] {
        let error = fetched(&body, &headers).await.expect_err("too large");
        assert_eq!(code(&error), "response_too_large", "{body:.10} {headers:.10}");
        assert!(matches!(error, KindError::Permanent { .. }));
    }
}

#[tokio::test]
async fn large_responses_are_read_a_few_at_a_time() {
    let port = server(|_| ok(&"x".repeat(100_000))).await;
    let http = open();
    let url = format!("http://127.0.0.1:{port}/");
    let fetches = (0..100).map(|_| fetch(&http, url.clone()));
    for fetched in futures_util::future::join_all(fetches).await {
        assert_eq!(fetched.expect("fetched")["status"], 200);
    }
}

#[tokio::test]
async fn stops_with_the_attempt() {
    let port = server(|_| String::new()).await;
    let test = TestAttempt::new();
    test.stop();
    let data = json!({ "url": format!("http://127.0.0.1:{port}/") });
    let data = serde_json::from_value(data).expect("valid data");
    let stopped = open().run(&test.context(), data).await;
    assert_eq!(stopped.map(drop), Err(KindError::Stopped));
}
