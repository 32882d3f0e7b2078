//! HTTP as tests speak it: every answer is read whole and can be asked what it is.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use miniapp_types::problem::{Code, Problem};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PATIENCE;

/// A client that follows no redirect and waits for no answer forever.
///
/// Each thread has one: connections belong to the runtime that opened them, and a test
/// has a thread with a runtime of its own.
pub fn client() -> reqwest::Client {
    thread_local! {
        static CLIENT: reqwest::Client = {
            // Fails only where one is installed already, and then that one serves.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
            client.timeout(PATIENCE).no_proxy().build().expect("a client")
        };
    }
    CLIENT.with(Clone::clone)
}

/// An answer, read to its end.
pub struct Answer {
    /// What was asked, for messages.
    asked: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

#[expect(clippy::return_self_not_must_use, reason = "to insist is often all there is to do")]
impl Answer {
    /// The answer to `request`.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request).await.expect("an answer")
    }

    /// The answer to `request`, unless the connection or the platform breaks first.
    pub async fn try_to(request: RequestBuilder) -> reqwest::Result<Self> {
        let (client, request) = request.build_split();
        let request = request?;
        let asked = format!("{} {}", request.method(), request.url());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Self { asked, status, headers, body: response.bytes().await? })
    }

    /// Insists on a status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Insists on a problem that is what every problem is, with this code.
    #[track_caller]
    pub fn expect_problem(self, code: Code) -> Self {
        let problem = self.problem();
        assert_eq!(problem.code, code, "{self:?}");
        self
    }

    /// The problem that it is.
    #[track_caller]
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header(CONTENT_TYPE.as_str()), "application/problem+json", "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem");
        assert_eq!(problem.status, self.status.as_u16(), "{self:?}");
        assert_eq!(problem.trace_id, self.header("x-trace-id"), "{self:?}");
        assert_eq!(problem.kind, format!("urn:miniapp:problem:{}", problem.code), "{self:?}");
        problem
    }

    /// The body.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A text of the body.
    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        let value = self.json();
        value[field].as_str().unwrap_or_else(|| panic!("no text {field}: {self:?}")).to_owned()
    }

    /// A header, empty where it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{}: {} {:?} {body}", self.asked, self.status, self.headers)
    }
}

/// A method by its name.
pub fn method(name: &str) -> Method {
    name.parse().expect("a method")
}

/// A connection on which a test says what no client would.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects to the server of `url`.
    pub async fn to(url: &str) -> Self {
        Self::try_to(url).await.expect("a connection")
    }

    /// Connects to the server of `url`, if it lets anybody in.
    pub async fn try_to(url: &str) -> std::io::Result<Self> {
        let authority = url.strip_prefix("http://").expect("a URL");
        TcpStream::connect(authority.trim_end_matches('/')).await.map(Self)
    }

    /// Says something.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }

    /// What comes back until the server closes the connection, however it does.
    pub async fn hear(&mut self) -> String {
        let mut heard = Vec::new();
        let reading = self.0.read_to_end(&mut heard);
        // A reset ends it as well; what came before it has been heard.
        let _ = tokio::time::timeout(PATIENCE, reading).await.expect("the connection ends");
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Whether the connection is open, as far as can be told at once.
    pub async fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let peeked = tokio::time::timeout(Duration::from_millis(1), self.0.peek(&mut byte)).await;
        !matches!(peeked, Ok(Ok(0) | Err(_)))
    }
}
