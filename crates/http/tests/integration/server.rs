//! The server with slow, many, large and disconnecting clients.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use miniapp_http::{Body, ServerOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use crate::support::{Note, Running, patient, read_to_end, read_until, within};

const SHORT: Duration = Duration::from_millis(50);
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn hello() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/notes", post(async |Body(note): Body<Note>| note.count.to_string()))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn connection_serves_several_requests() {
    let server = Running::start(hello(), patient()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(GET.as_bytes()).await.expect("written");
        let answer = read_until(&mut stream, "hello").await;
        assert_eq!(status(&answer), "200");
        assert!(answer.contains("x-trace-id: "), "{answer}");
    }
}

#[tokio::test]
async fn http2_works_without_tls() {
    let server = Running::start(hello(), patient()).await;
    let io = TokioIo::new(server.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let request = Request::get("http://a/").body(Empty::<bytes::Bytes>::new()).expect("a request");
    let answer = within(sender.send_request(request)).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(&body[..], b"hello");
    server.shutdown.begin();
    within(driver).await.expect("no panic").expect("a clean end");
    server.ended().await;
}

#[tokio::test]
async fn slow_heads_and_idle_connections_time_out() {
    let options = ServerOptions { header_timeout: SHORT, ..patient() };
    let server = Running::start(hello(), options).await;
    // Nothing, the start of either protocol, half a head.
    for sent in ["", "P", "PR", "GET / HTTP/1.1\r\nhost:"] {
        let answer = server.exchange(sent).await;
        assert!(!answer.contains("200"), "{answer}");
    }
    let mut idle = server.connect().await;
    idle.write_all(GET.as_bytes()).await.expect("written");
    let answer = read_to_end(&mut idle).await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn large_heads_are_rejected() {
    let server = Running::start(hello(), patient()).await;
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(status(&server.exchange(&large).await), "431");
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(200));
    assert_eq!(status(&server.exchange(&many).await), "431");
    let nonsense = server.exchange("\0\0\0\0\r\n\r\n").await;
    assert_eq!(status(&nonsense), "400");
    assert_eq!(status(&server.exchange(GET_AND_CLOSE).await), "200");
}

#[tokio::test]
async fn request_needs_one_host() {
    let server = Running::start(hello(), patient()).await;
    for hosts in ["", "host: a\r\nhost: a\r\n", "host: a/b\r\n", "host: a@b\r\n", "host: a b\r\n"] {
        let answer = server.exchange(&format!("GET / HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(status(&answer), "400", "{hosts}");
        for expected in ["\"code\":\"malformed_request\"", "x-trace-id: ", "connection: close"] {
            assert!(answer.contains(expected), "{expected}: {answer}");
        }
    }
    for host in ["", "a", "a:80", "127.0.0.1:1", "[::1]:1"] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&server.exchange(&request).await), "200", "{host}");
    }
    assert_eq!(status(&server.exchange("GET / HTTP/1.0\r\n\r\n").await), "200");
}

#[tokio::test]
async fn truncated_or_large_body_gets_a_response() {
    let server = Running::start(hello(), patient()).await;
    let head = "POST /notes HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let mut stream = server.connect().await;
    let half = format!("{head}content-length: 100\r\n\r\n{{\"count\":");
    stream.write_all(half.as_bytes()).await.expect("written");
    stream.shutdown().await.expect("half closed");
    let answer = read_to_end(&mut stream).await;
    assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
    let large = format!("{head}connection: close\r\ncontent-length: 9999999\r\n\r\n");
    let answer = server.exchange(&large).await;
    assert_eq!(status(&answer), "413");
    assert!(answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn excess_connection_gets_503_while_all_are_busy() {
    let (started, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (started, release) = (started.clone(), release.clone());
        get(async move || {
            started.notify_one();
            release.notified().await;
            "done"
        })
    };
    let options = ServerOptions { connections: 1, ..patient() };
    let server = Running::start(hello().route("/slow", slow), options).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    within(started.notified()).await;
    // With a request, and without.
    for sent in [GET, ""] {
        let answer = server.exchange(sent).await;
        assert_eq!(status(&answer), "503");
        for expected in ["retry-after: ", "x-trace-id: ", "\"code\":\"unavailable\""] {
            assert!(answer.contains(expected), "{expected}: {answer}");
        }
    }
    release.notify_one();
    read_until(&mut first, "done").await;
    drop(first);
    within(async {
        while status(&server.exchange(GET_AND_CLOSE).await) != "200" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn idle_connections_are_evicted() {
    let options = ServerOptions { connections: 4, ..patient() };
    let server = Running::start(hello(), options).await;
    let mut idle = Vec::new();
    // Nothing, half a head, and between two requests.
    for sent in ["", "GET / HTTP/1.1\r\nhost:", GET].repeat(4) {
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.expect("written");
        if sent == GET {
            read_until(&mut stream, "hello").await;
        }
        idle.push(stream);
    }
    assert_eq!(status(&server.exchange(GET_AND_CLOSE).await), "200");
    assert_eq!(read_to_end(&mut idle[0]).await, "");
}

#[tokio::test]
async fn write_times_out() {
    let endless = get(async || {
        let piece = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
        HttpBody::from_stream(futures_util::stream::repeat(Ok::<_, Infallible>(piece)))
    });
    let options = ServerOptions { write_timeout: SHORT, ..patient() };
    let server = Running::start(Router::new().route("/", endless), options).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.expect("written");
    read_until(&mut stream, "xxxx").await;
    server.shutdown.begin();
    // The response is endless and the drain timeout an hour: only the write timeout ends it.
    server.ended().await;
}

#[tokio::test]
async fn shutdown_waits_for_requests_and_ends_streams() {
    let (started, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (started, release) = (started.clone(), release.clone());
        get(async move || {
            started.notify_one();
            release.notified().await;
            "done"
        })
    };
    let stream = get(async || {
        let first =
            futures_util::stream::once(async { Ok::<_, Infallible>(Event::default().data("one")) });
        Sse::new(first.chain(futures_util::stream::pending()))
    });
    let router = Router::new().route("/slow", slow).route("/stream", stream);
    let server = Running::start(router, patient()).await;
    let mut idle = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    within(started.notified()).await;
    let mut events = server.connect().await;
    events.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    read_until(&mut events, "data: one").await;
    server.shutdown.begin();
    assert!(read_to_end(&mut events).await.ends_with("0\r\n\r\n"), "a complete response");
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!server.served.is_finished());
    release.notify_one();
    assert!(read_to_end(&mut slow).await.ends_with("done"));
    server.ended().await;
}

#[tokio::test]
async fn requests_are_aborted_after_the_drain_timeout() {
    let never = || Router::new().route("/", get(std::future::pending::<()>));
    let options = ServerOptions { drain: SHORT, ..patient() };
    let server = Running::start(never(), options).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.expect("written");
    server.shutdown.begin();
    server.ended().await;

    let server = Running::start(never(), patient()).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.expect("written");
    server.shutdown.abort();
    server.ended().await;
}
