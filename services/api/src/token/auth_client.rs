//! The HTTP client for auth: signing keys, and introspection of tokens and API keys.

use crate::PROGRAM;
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use miniapp_config::variable_of;
use miniapp_http::ClientSpan;
use miniapp_types::account::{ApiKeyInfo, Jwks, Secret, TokenInfo, Validate};
use miniapp_types::problem::{Code, Problem};
use parking_lot::Mutex;
use reqwest::{RequestBuilder, Response};
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(2);
/// After a failure, introspection fails immediately for this long.
const FAILURE_BACKOFF: Duration = Duration::from_millis(250);

/// Auth did not respond, or not with a valid response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auth is unreachable")]
pub(super) struct AuthUnreachable;

/// The result of an introspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Introspection {
    /// The token is the newest of an active session.
    Active,
    /// The token is not active, for this reason.
    Rejected(Code),
}

/// The owner and the scopes of an API key, or why it is not valid.
pub(super) type KeyIntrospection = Result<(TokenInfo, ApiKeyInfo), Code>;

#[derive(Debug)]
pub(super) struct AuthClient {
    client: reqwest::Client,
    url: String,
    /// When the last request failed, if it did.
    failed_at: Mutex<Option<Instant>>,
}

impl AuthClient {
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("could not create the HTTP client for auth")?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), failed_at: Mutex::new(None) })
    }

    /// Whether the last request failed.
    pub fn is_failing(&self) -> bool {
        self.failed_at.lock().is_some()
    }

    /// Fetches the public signing keys.
    pub async fn keys(&self) -> Result<Jwks, AuthUnreachable> {
        let response = async {
            let request = self.client.get(format!("{}/.well-known/jwks.json", self.url));
            let response = send(request).await?.error_for_status()?;
            Ok(response.json::<Jwks>().await?)
        };
        self.record(response.await)
    }

    /// Introspects a token.
    pub async fn introspect(&self, token: &str) -> Result<Introspection, AuthUnreachable> {
        self.check_backoff()?;
        let validated = self.validate(token).await;
        self.record(validated.map(|validated| match validated {
            Ok(_) => Introspection::Active,
            Err(code) => Introspection::Rejected(code),
        }))
    }

    /// Introspects an API key. Returns its owner and scopes, or why it is not valid.
    pub async fn introspect_api_key(&self, key: &str) -> Result<KeyIntrospection, AuthUnreachable> {
        self.check_backoff()?;
        let validated = async {
            let response = match self.validate(key).await? {
                Ok(response) => response,
                Err(code) => return Ok(Err(code)),
            };
            let mut owner: TokenInfo = response.json().await?;
            let info = owner.api_key.take().context("auth responded without a key")?;
            Ok(Ok((owner, info)))
        };
        self.record(validated.await)
    }

    fn check_backoff(&self) -> Result<(), AuthUnreachable> {
        let has_failed = self.failed_at.lock().is_some_and(|at| at.elapsed() < FAILURE_BACKOFF);
        if has_failed { Err(AuthUnreachable) } else { Ok(()) }
    }

    /// Returns the response about a valid token or key, or why it is not valid.
    async fn validate(&self, token: &str) -> anyhow::Result<Result<Response, Code>> {
        let request = self.client.post(format!("{}/validate", self.url));
        let body = Validate { token: Secret::new(token) };
        let response = send(request.json(&body)).await?;
        match response.status() {
            StatusCode::OK => Ok(Ok(response)),
            StatusCode::BAD_REQUEST => Ok(Err(response.json::<Problem>().await?.code)),
            status => Err(anyhow::anyhow!("auth responded with {status}")),
        }
    }

    fn record<T>(&self, response: anyhow::Result<T>) -> Result<T, AuthUnreachable> {
        let failed_at = response.as_ref().err().map(|_| Instant::now());
        let before = std::mem::replace(&mut *self.failed_at.lock(), failed_at);
        match (&response, before) {
            (Err(error), None) => {
                let setting = variable_of("auth.url");
                tracing::warn!(error = format!("{error:#}"), setting, "auth is unreachable");
            }
            (Ok(_), Some(_)) => tracing::info!("auth is reachable again"),
            _ => {}
        }
        response.map_err(|_| AuthUnreachable)
    }
}

/// Sends a request with a client span in the current trace.
async fn send(request: RequestBuilder) -> reqwest::Result<Response> {
    let (client, request) = request.build_split();
    let mut request = request?;
    let outgoing = ClientSpan::start(PROGRAM.name, request.method(), request.url().as_str());
    request.headers_mut().extend(outgoing.headers());
    let response = client.execute(request).await;
    outgoing.end(match &response {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) if error.is_timeout() => Err("timeout"),
        Err(_) => Err("connection_failed"),
    });
    response
}
