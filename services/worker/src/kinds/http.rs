//! The kind `http`: fetches a URL.
//!
//! A request carries the idempotency key of the task as `Idempotency-Key`, unless the task sets one:
//! a request whose response was lost is sent again.

mod address;
mod client;
mod redirect;
mod request;
mod response;
mod status;

use crate::PROGRAM;
use std::error::Error as _;

use miniapp_http::ClientSpan;
use miniapp_kind::{Context, Kind, KindError};
use parking_lot::Mutex;
use reqwest::{Client, Request, Response, Url};

use self::address::is_public;
use self::client::{Guard, MAX_REDIRECTS, Refusal, SystemResolver};
use self::request::Data;
use self::response::{HttpResult, LargeBodies};
use crate::config::WorkerConfig;
use crate::secret_headers::SecretHeaders;

/// Sends a request to the public internet and keeps the response.
pub struct Http {
    guard: Guard,
    /// The hosts that receive the trace context. It reveals that requests belong together, and
    /// lets the receiver add to our traces.
    trace_hosts: Vec<String>,
    secret_headers: SecretHeaders,
    /// Created by the first task; most processes never need it.
    client: Mutex<Option<Client>>,
    large_bodies: LargeBodies,
}

impl Http {
    pub fn new(config: &WorkerConfig) -> Self {
        let resolver = SystemResolver { uses_search_domains: config.http_allow_private };
        let guard = if config.http_allow_private {
            Guard::new(resolver, |_| true)
        } else {
            Guard::new(resolver, is_public).refusing_internal_names()
        };
        let secret_headers = config.secret_headers().unwrap_or_default();
        Self {
            trace_hosts: config.http_trace_hosts.clone(),
            secret_headers: secret_headers.allowing_http(config.http_allow_private),
            ..Self::guarded(guard)
        }
    }

    fn guarded(guard: Guard) -> Self {
        Self {
            guard,
            trace_hosts: Vec::new(),
            secret_headers: SecretHeaders::default(),
            client: Mutex::new(None),
            large_bodies: LargeBodies::default(),
        }
    }

    fn client(&self) -> Result<Client, KindError> {
        let mut slot = self.client.lock();
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = self.guard.client().map_err(failed)?;
        Ok(slot.insert(client).clone())
    }

    async fn fetch(&self, data: &Data, context: &Context) -> Result<HttpResult, KindError> {
        let request = data.to_request(context.idempotency_key(), context.attempt_id())?;
        self.secret_headers.check(&data.secret_headers, request.url())?;
        let outgoing = ClientSpan::start(PROGRAM.name, request.method(), request.url().as_str());
        let response = self.send(request, &data.secret_headers, &outgoing).await;
        outgoing.end(match &response {
            Ok(response) => Ok(response.status().as_u16()),
            Err(_) => Err("connection_failed"),
        });
        let response = response?;
        status::check(response.status(), response.headers(), &data.expect)?;
        HttpResult::read(response, &self.large_bodies).await
    }

    fn receives_trace(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| self.trace_hosts.iter().any(|it| it == host))
    }

    /// Sends a request and follows redirects.
    async fn send(
        &self,
        request: Request,
        secrets: &[String],
        span: &ClientSpan,
    ) -> Result<Response, KindError> {
        let client = self.client()?;
        let mut next = request;
        for _ in 0..=MAX_REDIRECTS {
            self.guard.check(next.url()).map_err(|refusal| KindError::from(&refusal))?;
            let again = next.try_clone();
            if self.receives_trace(next.url()) {
                for (name, value) in span.headers_without_baggage() {
                    // Headers of the task take precedence.
                    if let Some(name) = name {
                        next.headers_mut().entry(name).or_insert(value);
                    }
                }
            }
            self.secret_headers.add_to(&mut next, secrets);
            let response = client.execute(next).await.map_err(failed)?;
            let redirected = match again {
                Some(sent) => redirect::redirected(sent, &response),
                // Unreachable: bodies are texts, which can be cloned.
                None => Ok(None),
            };
            match redirected.map_err(|refusal| KindError::from(&refusal))? {
                Some(request) => next = request,
                None => return Ok(response),
            }
        }
        Err(KindError::from(&Refusal::Redirects))
    }
}

impl Kind for Http {
    const NAME: &'static str = "http";
    const DESCRIPTION: &'static str = "Fetches a URL of the public internet; the result is the \
                                       response. Temporary failures are retried.";
    type Input = Data;
    type Output = HttpResult;

    async fn run(&self, context: &Context, data: Data) -> Result<HttpResult, KindError> {
        context.unless_stopped(self.fetch(&data, context)).await?
    }
}

impl From<&Refusal> for KindError {
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Address | Refusal::Scheme => "address_refused",
            Refusal::Downgrade => "redirect_refused",
            Refusal::Redirects => "too_many_redirects",
        };
        Self::permanent(code, format!("Not fetched: {refusal}"))
    }
}

fn failed(error: reqwest::Error) -> KindError {
    let error = error.without_url();
    if let Some(refusal) = Refusal::source_of(&error) {
        return refusal.into();
    }
    if error.is_builder() {
        return KindError::invalid_data(format!("The request can't be made: {error}"));
    }
    // The message of reqwest names only the step; the last source has the cause.
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.source().is_none() {
            message = format!("{message}: {error}");
        }
        cause = error.source();
    }
    KindError::retryable("connection_failed", message)
}

#[cfg(test)]
mod tests;
