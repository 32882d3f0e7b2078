//! Memory of the program while clients try to exhaust it.

use std::convert::Infallible;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, pending};
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use miniapp_test_support::http::{Answer, Wire};
use miniapp_test_support::platform::{Platform, User};
use miniapp_types::task::Status;
use reqwest::RequestBuilder;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::platform::support::{new_user, program};

/// What a pod of one service may use.
const MAX_MEMORY: u64 = 256 << 20;
/// A neighbor of the attacker, which has another address.
const NEIGHBOR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const MAX_P99: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_are_bounded_in_total() {
    const CONNECTIONS: usize = 8;
    const STREAMS: usize = 255;
    const SLOW: usize = 4200;
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).expect("up to the hard limit");

    let platform = program().start().await;
    let user = new_user(&platform).await;
    let mut attack = JoinSet::new();
    for (url, path) in [(platform.auth(), "/validate"), (platform.api(), "/api/tasks")] {
        for _ in 0..CONNECTIONS {
            attack.spawn(send_unfinished(url.clone(), path, user.access(), STREAMS));
        }
    }
    let api = platform.api();
    let slow = SLOW.min(usize::try_from(files.current.unwrap_or(1 << 20)).unwrap_or(SLOW) / 2);
    let mut wires = Vec::new();
    for _ in 0..slow / 100 {
        let access = user.access();
        let connecting = (0..100).map(|_| slow_body(&api, &access));
        wires.extend(join_all(connecting).await.into_iter().flatten());
    }

    let times = neighbor_requests(&platform, &user).await;
    drop(attack);
    drop(wires);
    let peak = peak_memory(&platform);
    eprintln!("peak {} MiB, p99 {:?}", peak >> 20, times.p99);
    assert!(peak < MAX_MEMORY, "{} MiB", peak >> 20);
    assert!(times.p99 < MAX_P99, "{:?}", times.p99);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_are_bounded_in_total() {
    const TASKS: usize = 300;
    let port = large_responses().await;
    let platform = program().set("worker.http_allow_private", true).start().await;
    let user = new_user(&platform).await;
    // Half of them fit; the JSON of the others is six times as long as the response.
    let submits = (0..TASKS).map(|number| {
        let path = if number % 2 == 0 { "text" } else { "escaped" };
        let data = json!({ "url": format!("http://127.0.0.1:{port}/{path}") });
        let user = &user;
        async move { user.submit("http", &data).await.task_id }
    });
    let ids = join_all(submits).await;
    let times = neighbor_requests(&platform, &user).await;
    for (number, id) in ids.into_iter().enumerate() {
        let expected = if number % 2 == 0 { Status::Finished } else { Status::Failed };
        let task = user.until(id, expected).await;
        let code = task.error.map(|error| error.code);
        assert_eq!(code.as_deref(), (number % 2 == 1).then_some("response_too_large"));
    }
    let peak = peak_memory(&platform);
    eprintln!("peak {} MiB, p99 {:?}", peak >> 20, times.p99);
    assert!(peak < MAX_MEMORY, "{} MiB", peak >> 20);
    assert!(times.p99 < MAX_P99, "{:?}", times.p99);
}

/// The timeline of a task that was restarted again and again, read by many clients at once.
#[tokio::test(flavor = "multi_thread")]
async fn long_timelines_are_bounded() {
    const EVENTS: usize = 300_000;
    const READERS: usize = 15;
    let platform = program().start().await;
    let user = new_user(&platform).await;
    let id = user.submit("echo", &json!(1)).await.task_id;
    user.until(id, Status::Finished).await;
    let first = user.timeline(id).await[0].id;
    add_events(&platform, id, first, EVENTS).await;
    let before = Uuid::from_u128(first.as_u128() - 1).to_string();
    let received = Arc::new(AtomicUsize::new(0));
    let mut attack = JoinSet::new();
    for _ in 0..READERS {
        let path = format!("/api/tasks/{id}/events");
        let document = user.api("GET", &path);
        let stream = user.api("GET", &path).header("accept", "text/event-stream");
        let feed = user.api("GET", "/api/events").header("last-event-id", &before);
        for request in [document, stream, feed] {
            attack.spawn(read_again_and_again(request, received.clone()));
        }
    }
    let times = neighbor_requests(&platform, &user).await;
    attack.shutdown().await;
    let (peak, received) = (peak_memory(&platform), received.load(Ordering::Relaxed));
    eprintln!("peak {} MiB, p99 {:?}, {} MiB read", peak >> 20, times.p99, received >> 20);
    assert!(received > 1 << 20, "{received} bytes");
    assert!(peak < MAX_MEMORY, "{} MiB", peak >> 20);
    assert!(times.p99 < MAX_P99, "{:?}", times.p99);

    // And it is complete.
    let events = user.timeline(id).await;
    assert_eq!(events.len(), EVENTS + 3);
}

/// Adds events to the timeline of a task, as if it had been restarted.
async fn add_events(platform: &Platform, id: Uuid, first: Uuid, count: usize) {
    let file = platform.program().data_dir().join("miniapp.db");
    let options = SqliteConnectOptions::new().filename(file);
    let mut database = options.connect().await.expect("the database");
    let mut writing = database.begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
    let mut pages = 0;
    for some in (0..count).collect::<Vec<_>>().chunks(100) {
        let mut lines = String::new();
        for number in some {
            let id = Uuid::from_u128(first.as_u128() + 1 + *number as u128);
            let line = json!([
                id,
                1_900_000_000_000_000_u64,
                "restarted",
                "Awaiting",
                null,
                0.0,
                1,
                "worker"
            ]);
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        sqlx::query("INSERT INTO task_timeline_pages VALUES (?, ?, ?)")
            .bind(id)
            .bind(pages)
            .bind(lines)
            .execute(&mut *writing)
            .await
            .expect("a page");
        pages += 1;
    }
    let update = sqlx::query("UPDATE tasks SET pages = ? WHERE id = ?").bind(pages).bind(id);
    update.execute(&mut *writing).await.expect("updated");
    writing.commit().await.expect("committed");
}

/// Sends a request and reads its response, again and again.
async fn read_again_and_again(request: RequestBuilder, received: Arc<AtomicUsize>) {
    while let Some(request) = request.try_clone() {
        let Ok(mut response) = request.send().await else { continue };
        while let Ok(Some(chunk)) = response.chunk().await {
            received.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    }
}

/// Sends requests whose bodies of nearly 1 MiB never end.
async fn send_unfinished(url: String, path: &'static str, token: String, streams: usize) {
    let authority = url.trim_start_matches("http://");
    let Ok(stream) = TcpStream::connect(authority).await else { return };
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let Ok((sender, connection)) = handshake else { return };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    for _ in 0..streams {
        let parts = stream::iter((0..63).map(|_| Bytes::from(vec![b' '; 16 * 1024])));
        let parts = parts.map(|part| Ok::<_, Infallible>(Frame::data(part)));
        let body = StreamBody::new(Box::pin(parts.chain(stream::once(pending()))));
        let request = hyper::Request::post(format!("{url}{path}"))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        let request = request.body(body).expect("a request");
        let mut sender = sender.clone();
        tasks.spawn(async move {
            if sender.ready().await.is_ok() {
                let _ = sender.send_request(request).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Begins a body that does not continue.
async fn slow_body(url: &str, token: &str) -> Option<Wire> {
    let mut wire = Wire::try_to(url).await.ok()?;
    let head = format!(
        "POST /api/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\ncontent-length: 1000\r\n\r\n{{"
    );
    wire.send(head).await.ok()?;
    Some(wire)
}

struct Times {
    p99: Duration,
}

/// Submits and reads tasks from another address, for some seconds.
async fn neighbor_requests(platform: &Platform, user: &User) -> Times {
    let client = reqwest::Client::builder().local_address(NEIGHBOR).build().expect("a client");
    let url = format!("{}/api/tasks", platform.api());
    let body = json!({ "description": "d", "kind": "echo", "data": 1, "ttl": 60 });
    let mut times = Vec::new();
    let began_at = Instant::now();
    while began_at.elapsed() < Duration::from_secs(8) {
        let sent_at = Instant::now();
        let submit = client.post(&url).bearer_auth(user.access()).json(&body);
        Answer::to(submit).await.expect(201);
        times.push(sent_at.elapsed());
        let read = client.get(format!("{}/users/me", platform.auth()));
        let sent_at = Instant::now();
        Answer::to(read.bearer_auth(user.access())).await.expect(200);
        times.push(sent_at.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort_unstable();
    Times { p99: times[times.len() * 99 / 100] }
}

/// The peak of the resident memory, in bytes.
fn peak_memory(platform: &Platform) -> u64 {
    let path = format!("/proc/{}/status", platform.pid().as_raw_nonzero());
    let status = fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes.and_then(|text| text.parse::<u64>().ok()).expect("a number") * 1024
}

/// Serves responses that are nearly as large as a result may be, before or after escaping.
async fn large_responses() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let text = "x".repeat(250 * 1024);
    let escaped = "\u{1}".repeat(250 * 1024);
    let router = axum::Router::new()
        .route("/text", axum::routing::get(async || text))
        .route("/escaped", axum::routing::get(async || escaped));
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}
