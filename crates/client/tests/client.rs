//! The client against a server that fails in controlled ways.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::{TryStreamExt as _, stream};
use miniapp_client::task::{EventType, Stats, Status};
use miniapp_client::{Client, Code, Error, Secret};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

/// What the server has received, and the access token that it accepts.
#[derive(Debug, Default)]
struct Server {
    accepted_token: Mutex<String>,
    last_event_ids: Mutex<Vec<Option<String>>>,
    refreshes: Mutex<u32>,
    /// Answers to refreshes that get lost.
    lost: Mutex<u32>,
    /// What the server says about a token that it does not accept.
    rejection: Mutex<Option<Code>>,
    sign_ins: Mutex<Vec<Value>>,
    later_problem: Mutex<bool>,
}

/// Starts the server and signs in.
async fn start() -> (Arc<Server>, Client) {
    let server =
        Arc::new(Server { accepted_token: Mutex::new("access-0".into()), ..Server::default() });
    let router = Router::new()
        .route("/sign-in", post(sign_in))
        .route("/refresh", post(refresh))
        .route("/api/stats", get(stats))
        .route("/api/tasks/{id}/events", get(events))
        .with_state(Arc::clone(&server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(axum::serve(listener, router).into_future());
    let client = Client::builder(url).build().expect("a client");
    client.sign_in("ada", Secret::new("password")).await.expect("signed in");
    (server, client)
}

fn tokens(number: u32) -> Value {
    json!({
        "authToken": format!("access-{number}"),
        "refreshToken": format!("refresh-{number}"),
        "tokenType": "Bearer",
        "expiresIn": 900,
        "refreshExpiresIn": 2_592_000,
        "userName": "ada",
        "email": "ada@example.com",
    })
}

async fn sign_in(
    State(server): State<Arc<Server>>,
    axum::Json(body): axum::Json<Value>,
) -> axum::Json<Value> {
    server.sign_ins.lock().push(body);
    axum::Json(tokens(0))
}

async fn refresh(State(server): State<Arc<Server>>) -> Response {
    *server.refreshes.lock() += 1;
    if server.accepted_token.lock().is_empty() {
        return problem(Code::TokenRevoked);
    }
    "access-1".clone_into(&mut server.accepted_token.lock());
    let mut lost = server.lost.lock();
    if *lost == 0 {
        return axum::Json(tokens(1)).into_response();
    }
    *lost -= 1;
    let start = Bytes::from_static(b"{\"authToken\":");
    let cut_off = stream::iter([Ok(start), Err(std::io::Error::other("cut off"))]);
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(cut_off)).into_response()
}

async fn stats(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    if *server.later_problem.lock() {
        let body = json!({ "status": 503, "code": "later_problem", "title": "A later problem" });
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response();
    }
    let expected = format!("Bearer {}", server.accepted_token.lock());
    if headers[header::AUTHORIZATION] != expected {
        return problem(server.rejection.lock().unwrap_or(Code::TokenExpired));
    }
    axum::Json(json!({
        "byStatus": {"Awaiting": 0, "Executing": 0, "Finished": 7, "Canceled": 0, "Failed": 0},
        "queueDepth": 0,
        "oldestWaitSeconds": 0.0,
        "finishedPerMinute": 7,
    }))
    .into_response()
}

/// Sends one event per connection, then closes it. A message of an unknown type and a
/// comment come before.
async fn events(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").map(|id| id.to_str().expect("text").to_owned());
    let event = match &last {
        None => event(1, "started", "Executing"),
        Some(_) => event(2, "finished", "Finished"),
    };
    server.last_event_ids.lock().push(last);
    let text = format!(": comment\n\ndata: {{\"type\":\"new\"}}\n\ndata: {event}\n\n");
    // Split into small chunks, also inside of a line.
    let chunks: Vec<Result<Bytes, Infallible>> =
        text.as_bytes().chunks(7).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(stream::iter(chunks))).into_response()
}

fn event(id: u128, kind: &str, status: &str) -> Value {
    json!({
        "id": Uuid::from_u128(id),
        "taskId": Uuid::nil(),
        "at": "2030-01-01T00:00:00Z",
        "type": kind,
        "status": status,
        "message": null,
        "progress": 0.5,
        "attempt": 1,
        "worker": null,
    })
}

fn problem(code: Code) -> Response {
    let body = json!({
        "type": format!("urn:miniapp:problem:{code}"),
        "title": code.title(),
        "status": code.status(),
        "code": code,
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    let status = StatusCode::from_u16(code.status()).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[tokio::test]
async fn watch_resumes_after_the_last_event() {
    let (server, client) = start().await;
    let events: Vec<_> = client.watch(Uuid::nil()).try_collect().await.expect("events");
    let kinds: Vec<EventType> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventType::Started, EventType::Finished]);
    assert_eq!(events[1].status, Status::Finished);
    let first = Uuid::from_u128(1).to_string();
    assert_eq!(*server.last_event_ids.lock(), [None, Some(first)]);
}

#[tokio::test]
async fn expired_token_is_refreshed_once_for_concurrent_calls() {
    let (server, client) = start().await;
    "access-1".clone_into(&mut server.accepted_token.lock());
    let (one, other) = tokio::join!(client.stats(), client.stats());
    let finished = |stats: Result<Stats, Error>| stats.expect("stats").by_status.finished;
    assert_eq!((finished(one), finished(other)), (7, 7));
    assert_eq!(*server.refreshes.lock(), 1);
    let session = client.session().expect("a session");
    assert_eq!(session.access_token.expose(), "access-1");
}

#[tokio::test]
async fn lost_refresh_is_repeated_at_once() {
    let (server, client) = start().await;
    "access-1".clone_into(&mut server.accepted_token.lock());
    *server.lost.lock() = 2;
    client.stats().await.expect("stats");
    assert_eq!(*server.refreshes.lock(), 3);
    // Not more often than the server repeats it.
    *server.lost.lock() = 10;
    let error = client.refresh().await.expect_err("a lost answer");
    assert!(
        matches!(error, Error::UnexpectedResponse { .. } | Error::Connection { .. }),
        "{error}"
    );
    assert_eq!(*server.refreshes.lock(), 6);
}

/// The tokens of a refresh that was not stored are revoked, but the session goes on.
#[tokio::test]
async fn revoked_token_of_an_active_session_is_refreshed() {
    let (server, client) = start().await;
    *server.rejection.lock() = Some(Code::TokenRevoked);
    "access-1".clone_into(&mut server.accepted_token.lock());
    client.stats().await.expect("stats");
    assert_eq!(*server.refreshes.lock(), 1);
    server.accepted_token.lock().clear();
    let error = client.stats().await.expect_err("an ended session");
    assert_eq!(error.code(), Some(Code::TokenRevoked));
    assert_eq!(*server.refreshes.lock(), 2);
}

#[tokio::test]
async fn sign_in_names_the_client() {
    let (server, client) = start().await;
    let named = Client::builder(client.api_url().clone()).client_name("console").build();
    let named = named.expect("a client");
    named.sign_in("ada", Secret::new("password")).await.expect("signed in");
    let expected = [
        json!({ "login": "ada", "password": "password" }),
        json!({ "login": "ada", "password": "password", "client": "console" }),
    ];
    assert_eq!(*server.sign_ins.lock(), expected);
}

#[tokio::test]
async fn errors_are_typed() {
    let (server, client) = start().await;
    let error = client.task(Uuid::nil()).await.expect_err("no such route");
    assert!(matches!(error, Error::UnexpectedResponse { .. }), "{error}");

    // A code of a later version.
    *server.later_problem.lock() = true;
    let error = client.stats().await.expect_err("a problem");
    assert_eq!(error.to_string(), "A later problem (later_problem)");
    assert_eq!((error.code(), error.is_transient()), (None, true));

    client.forget_session().expect("forgotten");
    let error = client.stats().await.expect_err("no session");
    assert!(matches!(error, Error::NotSignedIn(_)), "{error}");

    let client = Client::builder("http://127.0.0.1:1").build().expect("a client");
    let error = client.send_code("ada@example.com").await.expect_err("no server");
    assert!(matches!(error, Error::ConnectionRefused(_)), "{error}");
    assert!(error.is_transient());
}
