//! The kind `http`: fetches a URL.
//!
//! A request carries the attempt id as `Idempotency-Key`, unless the task sets one: a request
//! whose response was lost is sent again.

mod address;
mod client;
mod request;

use crate::PROGRAM;
use std::collections::BTreeMap;
use std::error::Error as _;

use async_trait::async_trait;
use miniapp_http::ClientSpan;
use parking_lot::Mutex;
use reqwest::{Client, Response};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use self::address::is_public;
use self::client::{Guard, Refusal, SystemResolver};
use self::request::Data;
use super::{Context, Description, Kind, KindError, KindResult, parse_data, to_result};

const MAX_BODY: usize = 256 * 1024;

/// Sends a request to the public internet and keeps the response, whatever its status.
pub struct Http {
    guard: Guard,
    /// Created by the first task; most processes never need it.
    client: Mutex<Option<Client>>,
}

impl Http {
    /// `allow_private` also allows private, loopback and link-local addresses.
    pub fn new(allow_private: bool) -> Self {
        let is_allowed = if allow_private { |_| true } else { is_public };
        Self::guarded(Guard::new(SystemResolver, is_allowed))
    }

    fn guarded(guard: Guard) -> Self {
        Self { guard, client: Mutex::new(None) }
    }

    fn client(&self) -> Result<Client, KindError> {
        let mut slot = self.client.lock();
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = self.guard.client().map_err(failed)?;
        Ok(slot.insert(client).clone())
    }

    async fn fetch(&self, data: Data, attempt: &str) -> Result<HttpResult, KindError> {
        let mut request = data.into_request(attempt)?;
        self.guard.check(request.url()).map_err(|refusal| KindError::from(&refusal))?;
        let client = self.client()?;
        let outgoing = ClientSpan::start(PROGRAM.name, request.method(), request.url().as_str());
        for (name, value) in outgoing.headers_without_baggage() {
            // Headers of the task take precedence.
            if let Some(name) = name {
                request.headers_mut().entry(name).or_insert(value);
            }
        }
        let response = client.execute(request).await.map_err(failed);
        outgoing.end(match &response {
            Ok(response) => Ok(response.status().as_u16()),
            Err(_) => Err("connection_failed"),
        });
        HttpResult::read(response?).await
    }
}

#[async_trait]
impl Kind for Http {
    fn describe(&self) -> Description {
        Description {
            name: "http".into(),
            description: "Fetches a URL of the public internet; the result is the response, \
                          whatever its status."
                .into(),
            data_schema: json!({
                "type": "object",
                "required": ["url"],
                "additionalProperties": false,
                "properties": {
                    "url": { "type": "string", "format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://" },
                    "method": {
                        "enum": request::METHODS,
                        "default": "GET",
                    },
                    "headers": {
                        "description": "Idempotency-Key is the attempt's id where none is given",
                        "type": "object",
                        "additionalProperties": { "type": "string" },
                    },
                    "body": { "description": "A text as it is, or any other JSON" },
                },
            }),
            example: json!({ "url": "https://example.com/", "method": "GET" }),
        }
    }

    async fn run(&self, context: &Context, data: &RawValue) -> KindResult {
        let data: Data = parse_data(data)?;
        let attempt = context.attempt_id();
        let fetched = context.unless_stopped(self.fetch(data, &attempt)).await??;
        to_result(&fetched)
    }
}

#[derive(Debug, Serialize)]
struct HttpResult {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl HttpResult {
    async fn read(mut response: Response) -> Result<Self, KindError> {
        let status = response.status().as_u16();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|values| *values = format!("{values}, {value}"))
                .or_insert_with(|| value.into_owned());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BODY {
                let message = format!("The answer is larger than {} KiB", MAX_BODY / 1024);
                return Err(KindError::permanent("response_too_large", message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl From<&Refusal> for KindError {
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Address(_) | Refusal::Scheme(_) => "address_refused",
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
