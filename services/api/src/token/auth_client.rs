//! Asking auth.

use crate::PROGRAM;
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use miniapp_config::variable_of;
use miniapp_http::ClientSpan;
use miniapp_types::account::{Jwks, Secret, Validate};
use miniapp_types::problem::{Code, Problem};
use parking_lot::Mutex;
use reqwest::{RequestBuilder, Response};
use tokio::time::Instant;

/// How long auth may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long auth is left alone after it failed to answer.
const PAUSE: Duration = Duration::from_millis(250);

/// Auth didn't answer, or not in a way that means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auth is unreachable")]
pub(super) struct Unreachable;

/// What auth says about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is the newest of a session that hasn't ended.
    Active,
    /// It isn't, for this reason.
    Refused(Code),
}

/// A client of auth.
#[derive(Debug)]
pub(super) struct Auth {
    client: reqwest::Client,
    url: String,
    /// When auth failed to answer, if it did the last time.
    failed: Mutex<Option<Instant>>,
}

impl Auth {
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("could not create the HTTP client for auth")?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), failed: Mutex::new(None) })
    }

    /// Whether auth failed to answer the last time it was asked.
    pub fn is_failing(&self) -> bool {
        self.failed.lock().is_some()
    }

    /// The keys that tokens are signed with.
    pub async fn keys(&self) -> Result<Jwks, Unreachable> {
        let asking = async {
            let request = self.client.get(format!("{}/.well-known/jwks.json", self.url));
            let response = sent(request).await?.error_for_status()?;
            Ok(response.json::<Jwks>().await?)
        };
        self.noted(asking.await)
    }

    /// Whether a token is the newest of its session.
    pub async fn validate(&self, token: &str) -> Result<Answer, Unreachable> {
        if self.failed.lock().is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(Unreachable);
        }
        let asking = async {
            let request = self.client.post(format!("{}/validate", self.url));
            let body = Validate { token: Secret::new(token) };
            let response = sent(request.json(&body)).await?;
            match response.status() {
                StatusCode::OK => Ok(Answer::Active),
                StatusCode::BAD_REQUEST => {
                    Ok(Answer::Refused(response.json::<Problem>().await?.code))
                }
                status => Err(anyhow::anyhow!("auth answered {status}")),
            }
        };
        self.noted(asking.await)
    }

    fn noted<T>(&self, answer: anyhow::Result<T>) -> Result<T, Unreachable> {
        let failed = answer.as_ref().err().map(|_| Instant::now());
        let before = std::mem::replace(&mut *self.failed.lock(), failed);
        match (&answer, before) {
            (Err(error), None) => {
                let setting = variable_of("auth.url");
                tracing::warn!(
                    error = format!("{error:#}"),
                    setting,
                    "token introspection failed: auth is unreachable"
                );
            }
            (Ok(_), Some(_)) => tracing::info!("auth is reachable again"),
            _ => {}
        }
        answer.map_err(|_| Unreachable)
    }
}

/// The answer to a request, in the trace of the request that makes us ask.
async fn sent(request: RequestBuilder) -> reqwest::Result<Response> {
    let (client, request) = request.build_split();
    let mut request = request?;
    let outgoing = ClientSpan::start(PROGRAM.name, request.method(), request.url().as_str());
    request.headers_mut().extend(outgoing.headers());
    let answer = client.execute(request).await;
    outgoing.end(match &answer {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) if error.is_timeout() => Err("timeout"),
        Err(_) => Err("connection_failed"),
    });
    answer
}
