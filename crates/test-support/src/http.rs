//! An HTTP client for tests: responses are read completely and checked by methods.

use std::fmt;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use miniapp_types::problem::{Code, Problem};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::TIMEOUT;

/// Returns a client with a timeout that follows no redirects.
///
/// Each thread has its own client: a connection belongs to the runtime that opened it, and each
/// test has a thread with its own runtime.
pub fn client() -> reqwest::Client {
    thread_local! {
        static CLIENT: reqwest::Client = {
            // Fails if a provider is installed already, which is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
            client.timeout(TIMEOUT).no_proxy().build().expect("a client")
        };
    }
    CLIENT.with(Clone::clone)
}

/// A complete response.
pub struct Answer {
    /// The request, for messages.
    request: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[expect(clippy::return_self_not_must_use, reason = "many callers only check the status")]
impl Answer {
    pub async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request).await.expect("an answer")
    }

    /// The answer to `request`, or an error if the connection breaks first.
    pub async fn try_to(request: RequestBuilder) -> reqwest::Result<Self> {
        let (client, request) = request.build_split();
        let request = request?;
        let line = format!("{} {}", request.method(), request.url());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Self { request: line, status, headers, body: response.bytes().await? })
    }

    /// Sends a request to a router without a server.
    pub async fn from_router(router: &Router, request: Request<Body>) -> Self {
        let line = format!("{} {}", request.method(), request.uri());
        let (parts, body) = router.clone().oneshot(request).await.expect("infallible").into_parts();
        let body = body.collect().await.expect("a complete body").to_bytes();
        Self { request: line, status: parts.status, headers: parts.headers, body }
    }

    /// Panics unless the response has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Panics unless the body is a well-formed problem document with this code.
    #[track_caller]
    pub fn expect_problem(self, code: Code) -> Self {
        let problem = self.problem();
        assert_eq!(problem.code, code, "{self:?}");
        self
    }

    /// Parses the body as a problem document.
    #[track_caller]
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header(CONTENT_TYPE.as_str()), "application/problem+json", "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem");
        assert_eq!(problem.status, self.status.as_u16(), "{self:?}");
        assert_eq!(problem.trace_id, self.header("x-trace-id"), "{self:?}");
        assert_eq!(problem.kind, format!("urn:miniapp:problem:{}", problem.code), "{self:?}");
        problem
    }

    /// Returns the code of a problem document.
    #[track_caller]
    pub fn code(&self) -> String {
        self.problem().code.to_string()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A string field of the body.
    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        let value = self.json();
        value[field].as_str().unwrap_or_else(|| panic!("no text {field}: {self:?}")).to_owned()
    }

    /// A header, or an empty string if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{}: {} {:?} {body}", self.request, self.status, self.headers)
    }
}

/// A `GET` request for a router.
pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a valid path")
}

/// A method by its name.
pub fn method(name: &str) -> Method {
    name.parse().expect("a method")
}

/// A raw connection, for bytes that no HTTP client would send.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects to the server of `url`.
    pub async fn to(url: &str) -> Self {
        Self::try_to(url).await.expect("a connection")
    }

    /// Connects to the server of `url`, or fails.
    pub async fn try_to(url: &str) -> std::io::Result<Self> {
        let authority = url.strip_prefix("http://").expect("a URL");
        TcpStream::connect(authority.trim_end_matches('/')).await.map(Self)
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }

    /// Reads until the server closes or resets the connection.
    pub async fn read_to_end(&mut self) -> String {
        let mut received = Vec::new();
        let reading = self.0.read_to_end(&mut received);
        // A reset ends it as well; the bytes before it have been read.
        let _ = tokio::time::timeout(TIMEOUT, reading).await.expect("the connection ends");
        String::from_utf8_lossy(&received).into_owned()
    }

    /// Whether the connection is open, without waiting.
    pub async fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let peeked = tokio::time::timeout(Duration::from_millis(1), self.0.peek(&mut byte)).await;
        !matches!(peeked, Ok(Ok(0) | Err(_)))
    }
}
