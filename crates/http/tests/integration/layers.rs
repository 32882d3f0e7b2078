//! Requests to a completed router.

use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::routing::{get as on_get, post};
use http::{Method, Request, StatusCode};
use miniapp_http::{
    Body, BodyLimits, Client, Id, IpRateLimit, Problem, Query, RouterOptions, docs, finish,
};
use miniapp_test_support::http::{Answer, get};
use miniapp_types::problem::Code;
use utoipa::openapi::OpenApi;

use crate::support::Note;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn routes() -> Router {
    Router::new()
        .route("/notes", post(async |Body(note): Body<Note>| note.count.to_string()))
        .route("/search", on_get(async |Query(note): Query<Note>| note.count.to_string()))
        .route(
            "/notes/{id}",
            on_get(async |id: Id| Ok::<_, Problem>(id.or(Code::TaskNotFound)?.to_string())),
        )
        .route("/who", on_get(async |client: Client| format!("{client:?}")))
        .route("/panic", on_get(panics))
        .route(
            "/late-panic",
            on_get(async || {
                tokio::task::yield_now().await;
                panics().await;
            }),
        )
        .route(
            "/fault",
            on_get(async || {
                Err::<(), _>(Problem::internal(anyhow::anyhow!("s3cr3t").context("opening")))
            }),
        )
}

async fn panics() {
    panic!("on purpose: s3cr3t")
}

fn router() -> Router {
    let body = BodyLimits { size: 1024, timeout: Duration::from_millis(20), rate: 0 };
    finish(routes(), &RouterOptions { body, ..RouterOptions::default() })
}

async fn post_note(content_type: &str, body: impl Into<HttpBody>) -> Answer {
    let request = Request::post("/notes").header("content-type", content_type);
    Answer::from_router(&router(), request.body(body.into()).expect("a request")).await
}

async fn post_json(body: impl Into<HttpBody>) -> Answer {
    post_note("application/json", body).await
}

#[tokio::test]
async fn responses_have_trace_id_and_security_headers() {
    for (path, status) in [
        ("/search?count=3", 200),
        ("/search", 422),
        ("/nowhere", 404),
        ("/notes", 405),
        ("/panic", 500),
        ("/late-panic", 500),
        ("/fault", 500),
    ] {
        let answer = Answer::from_router(&router(), get(path)).await;
        assert_eq!(answer.status, status, "{path}");
        let id = answer.header("x-trace-id");
        assert_eq!(id.len(), 32, "{path}");
        assert!(id.chars().any(|digit| digit != '0'), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
        if status != 200 {
            answer.problem();
        }
        assert!(!String::from_utf8_lossy(&answer.body).contains("s3cr3t"), "{path}");
    }
}

#[tokio::test]
async fn unknown_path_or_method_is_a_problem() {
    assert_eq!(Answer::from_router(&router(), get("/nowhere")).await.code(), "not_found");
    let answer = Answer::from_router(&router(), get("/notes")).await;
    assert_eq!((answer.code().as_str(), answer.header("allow")), ("method_not_allowed", "POST"));
    let made_up = Request::builder().method("BREW").uri("/who").body(HttpBody::empty());
    let answer = Answer::from_router(&router(), made_up.expect("a request")).await;
    assert_eq!(
        (answer.code().as_str(), answer.header("allow")),
        ("method_not_allowed", "GET,HEAD")
    );
}

#[tokio::test]
async fn trace_of_caller_is_continued_if_valid() {
    let traced = async |parent: &[u8]| {
        let mut request = get("/nowhere");
        let parent = http::HeaderValue::from_bytes(parent).expect("a value");
        request.headers_mut().insert("traceparent", parent);
        let answer = Answer::from_router(&router(), request).await;
        answer.problem();
        answer.header("x-trace-id").to_owned()
    };
    let id = &PARENT[3..35];
    assert_eq!(traced(PARENT.as_bytes()).await, id);
    let long = format!("{PARENT}{}", "x".repeat(10_000));
    let zeros = PARENT.replace(id, &"0".repeat(32));
    for parent in ["", "-", &long, &zeros, &PARENT.to_uppercase(), &PARENT[..54]] {
        let answered = traced(parent.as_bytes()).await;
        assert_ne!(answered, id);
        assert_eq!(answered.len(), 32);
    }
    assert_ne!(traced(b"00-\xff\xfe").await, id);
}

#[tokio::test]
async fn body_is_read_or_rejected() {
    let answer = post_note("application/json; charset=utf-8", r#"{"count":3}"#).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"3"[..]));
    let long = format!(r#"{{"count":1,"text":"{}"}}"#, "x".repeat(1024));
    let deep = format!(r#"{{"count":{}{}}}"#, "[".repeat(400), "]".repeat(400));
    let cases: [(&str, &[u8], u16, &str); 12] = [
        ("text/plain", b"{}", 415, "unsupported_media_type"),
        ("", b"{}", 415, "unsupported_media_type"),
        ("application/json", b"", 400, "malformed_body"),
        ("application/json", b"{\"count\":", 400, "malformed_body"),
        ("application/json", b"{\"count\":1} x", 400, "malformed_body"),
        ("application/json", b"[1]", 400, "malformed_body"),
        ("application/json", b"\"text\"", 400, "malformed_body"),
        ("application/json", b"{\"text\":\"\xff\"}", 400, "malformed_body"),
        ("application/json", deep.as_bytes(), 422, "invalid_fields"),
        ("application/json", b"{\"count\":1e400}", 422, "invalid_fields"),
        ("application/json", long.as_bytes(), 413, "body_too_large"),
        ("application/json", b"{\"count\":0,\"text\":\"\",\"x\":1}", 422, "invalid_fields"),
    ];
    for (content_type, body, status, code) in cases {
        let answer = post_note(content_type, body.to_vec()).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{shown}");
    }
}

#[tokio::test]
async fn all_errors_of_a_body_or_query_are_reported() {
    let fields = |answer: &Answer| -> Vec<String> {
        answer.problem();
        let problem = answer.json();
        let errors = problem["errors"].as_array().expect("a list");
        errors.iter().map(|error| error["field"].as_str().expect("a name").to_owned()).collect()
    };
    let answer = post_json(r#"{"count":0,"text":7,"x":1}"#).await;
    assert_eq!(fields(&answer), ["count", "text", "x"]);
    let answer = Answer::from_router(&router(), get("/search?count=99&text=toolong&x=1&x=2")).await;
    assert_eq!(answer.code(), "invalid_fields");
    assert_eq!(fields(&answer), ["x", "count", "text", "x"]);
}

#[tokio::test]
async fn chunked_body_is_limited_in_total() {
    let pieces = |count| {
        let pieces = (0..count).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100]));
        HttpBody::from_stream(futures_util::stream::iter(pieces))
    };
    assert_eq!(post_json(pieces(10)).await.code(), "malformed_body");
    assert_eq!(post_json(pieces(11)).await.code(), "body_too_large");
}

#[tokio::test]
async fn body_times_out() {
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let answer = post_json(HttpBody::from_stream(never)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (408, "request_timeout"));
}

#[tokio::test]
async fn invalid_id_is_not_found() {
    let id = "01900000-0000-7000-8000-000000000001";
    let answer = Answer::from_router(&router(), get(&format!("/notes/{id}"))).await;
    assert_eq!(answer.body, id.as_bytes());
    for path in ["/notes/7", "/notes/%ff", "/notes/%00", "/notes/01900000000070008000000000000001"]
    {
        let answer = Answer::from_router(&router(), get(path)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (404, "task_not_found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn cors_allows_configured_origins_only() {
    let preflight = || {
        Request::builder()
            .method(Method::OPTIONS)
            .uri("/notes")
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .body(HttpBody::empty())
            .expect("a request")
    };
    let answer = Answer::from_router(&router(), preflight()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let cors_origins = vec!["https://app.example".to_owned()];
    let options = RouterOptions { cors_origins, ..RouterOptions::default() };
    let answer = Answer::from_router(&finish(routes(), &options), preflight()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert_eq!(answer.header("x-trace-id").len(), 32);

    // The headers that a page may read, also of errors.
    let mut request = get("/nowhere");
    let origin = http::HeaderValue::from_static("https://app.example");
    request.headers_mut().insert("origin", origin);
    let answer = Answer::from_router(&finish(routes(), &options), request).await;
    answer.problem();
    let exposed: Vec<&str> = answer.header("access-control-expose-headers").split(',').collect();
    for name in ["allow", "etag", "location", "retry-after", "www-authenticate", "x-trace-id"] {
        assert!(exposed.contains(&name), "{name}: {exposed:?}");
    }
}

#[tokio::test]
async fn docs_use_no_other_host() {
    let documented = docs(&OpenApi::default()).expect("JSON");
    let router = finish(documented, &RouterOptions::default());
    let answer = Answer::from_router(&router, get("/openapi.json")).await;
    assert!(answer.json()["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let answer = Answer::from_router(&router, get("/docs")).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (308, "/docs/"));
    let page = Answer::from_router(&router, get("/docs/")).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    let html = String::from_utf8(page.body.to_vec()).expect("text");
    assert!(html.contains("swagger-ui") && !html.contains("://"), "{html}");
    let answer = Answer::from_router(&router, get("/docs/swagger-initializer.js")).await;
    let script = String::from_utf8_lossy(&answer.body);
    assert!(script.contains("/openapi.json"));
    assert!(script.contains(r#""validatorUrl": "none""#), "no validator of another host: {script}");
    for path in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        assert_eq!(Answer::from_router(&router, get(path)).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(Answer::from_router(&router, get("/docs/nowhere.js")).await.code(), "not_found");
}

#[tokio::test]
async fn rate_limit_rejects_frequent_requests() {
    let limited = axum::middleware::from_fn_with_state(IpRateLimit::new(2), IpRateLimit::limit);
    let router = finish(
        Router::new().route("/", on_get(async || "fine")).layer(limited),
        &RouterOptions::default(),
    );
    let from = async |address: [u8; 4]| {
        let mut request = get("/");
        request.extensions_mut().insert(miniapp_http::Peer((address, 1).into()));
        Answer::from_router(&router, request).await
    };
    assert_eq!(from([192, 0, 2, 1]).await.status, 200);
    assert_eq!(from([192, 0, 2, 1]).await.status, 200);
    let answer = from([192, 0, 2, 1]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "too_many_requests"));
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|wait| wait >= 1));
    assert_eq!(from([192, 0, 2, 2]).await.status, 200);
}

#[tokio::test]
async fn client_is_the_peer_of_the_connection() {
    let mut request = get("/who");
    let peer = "[::ffff:192.0.2.1]:5".parse().expect("an address");
    request.extensions_mut().insert(miniapp_http::Peer(peer));
    request.headers_mut().insert("user-agent", http::HeaderValue::from_static("curl/8"));
    request.headers_mut().insert("x-forwarded-for", http::HeaderValue::from_static("10.0.0.1"));
    let answer = Answer::from_router(&router(), request).await;
    let shown = String::from_utf8(answer.body.to_vec()).expect("text");
    assert_eq!(shown, r#"Client { address: Some(192.0.2.1), user_agent: Some("curl/8") }"#);
}

#[tokio::test]
async fn client_is_named_by_a_trusted_proxy() {
    let options = RouterOptions {
        proxies: miniapp_http::TrustedProxies::new(&["10.0.0.0/8".parse().expect("a network")], 0),
        ..RouterOptions::default()
    };
    let who = async |client: miniapp_http::Client| client.address.expect("one").to_string();
    let router = finish(Router::new().route("/who", on_get(who)), &options);
    for (peer, expected) in [("10.1.1.1:5", "192.0.2.1"), ("192.0.2.9:5", "192.0.2.9")] {
        let mut request = get("/who");
        request.extensions_mut().insert(miniapp_http::Peer(peer.parse().expect("an address")));
        let forwarded = http::HeaderValue::from_static("10.9.9.9, 192.0.2.1");
        request.headers_mut().insert("x-forwarded-for", forwarded);
        assert_eq!(Answer::from_router(&router, request).await.body, expected.as_bytes());
    }
}

#[tokio::test]
async fn client_is_counted_from_the_right_of_the_header() {
    for (hops, expected) in [(1, "10.9.9.9"), (2, "192.0.2.1"), (4, "10.1.1.1")] {
        let options = RouterOptions {
            proxies: miniapp_http::TrustedProxies::new(&[], hops),
            ..RouterOptions::default()
        };
        let who = async |client: miniapp_http::Client| client.address.expect("one").to_string();
        let router = finish(Router::new().route("/who", on_get(who)), &options);
        let mut request = get("/who");
        let peer = "10.1.1.1:5".parse().expect("an address");
        request.extensions_mut().insert(miniapp_http::Peer(peer));
        let forwarded = http::HeaderValue::from_static("198.51.100.7, 192.0.2.1, 10.9.9.9");
        request.headers_mut().insert("x-forwarded-for", forwarded);
        assert_eq!(Answer::from_router(&router, request).await.body, expected.as_bytes(), "{hops}");
    }
}
