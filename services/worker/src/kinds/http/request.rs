//! What a task asks for, as a request.

use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::kinds::KindError;

/// The methods a task may use: all but those that turn a connection into something else.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Headers that are about the connection: the client's, not the task's.
const CONNECTION_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Names what the request does, so that who gets it twice can tell.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a `url`")]
pub(super) struct Data {
    url: String,
    method: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    body: Option<Value>,
}

impl Data {
    /// The request that `attempt` makes, or what is wrong with the data.
    pub fn into_request(self, attempt: &str) -> Result<Request, KindError> {
        let url = Url::parse(&self.url)
            .map_err(|error| KindError::invalid_data(format!("url is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(KindError::invalid_data("url must begin with http:// or https://"));
        }
        let mut request = Request::new(method(self.method)?, url);
        *request.headers_mut() = headers(self.headers.unwrap_or_default())?;
        if let Ok(attempt) = attempt.parse() {
            request.headers_mut().entry(IDEMPOTENCY_KEY).or_insert(attempt);
        }
        match self.body {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => *request.body_mut() = Some(text.into()),
            Some(json) => {
                *request.body_mut() = Some(json.to_string().into());
                let json = HeaderValue::from_static("application/json");
                request.headers_mut().entry(CONTENT_TYPE).or_insert(json);
            }
        }
        Ok(request)
    }
}

fn method(name: Option<String>) -> Result<Method, KindError> {
    let name = name.map_or_else(|| "GET".to_owned(), |name| name.to_ascii_uppercase());
    let known = METHODS.contains(&name.as_str());
    let method = Method::from_bytes(name.as_bytes()).ok().filter(|_| known);
    method.ok_or_else(|| {
        KindError::invalid_data(format!("method must be one of {}", METHODS.join(", ")))
    })
}

fn headers(given: BTreeMap<String, String>) -> Result<HeaderMap, KindError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let told: String = name.chars().take(64).collect();
        let refuse = |why| KindError::invalid_data(format!("headers: {told:?} {why}"));
        let parsed: HeaderName = name.parse().map_err(|_| refuse("is no header name"))?;
        if CONNECTION_HEADERS.contains(&parsed.as_str()) {
            return Err(refuse("is set by the worker"));
        }
        let value = value.parse().map_err(|_| refuse("has a value that can't be sent"))?;
        headers.insert(parsed, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(data: Value) -> Result<Request, KindError> {
        serde_json::from_value::<Data>(data).expect("of the right form").into_request("7-1")
    }

    #[test]
    fn a_request_is_what_was_asked_for() {
        let made = request(json!({
            "url": "https://example.org/a?b=c",
            "method": "post",
            "headers": { "X-Key": "value" },
            "body": { "a": 1 },
        }))
        .expect("a request");
        assert_eq!(made.method(), Method::POST);
        assert_eq!(made.url().as_str(), "https://example.org/a?b=c");
        assert_eq!(made.headers()["x-key"], "value");
        assert_eq!(made.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(made.body().and_then(|body| body.as_bytes()), Some(&br#"{"a":1}"#[..]));
    }

    #[test]
    fn the_attempt_is_the_idempotency_key_unless_the_task_has_one() {
        let url = "http://example.org/";
        let made = request(json!({ "url": url })).expect("a request");
        assert_eq!(made.headers()[IDEMPOTENCY_KEY], "7-1");
        let own = json!({ "url": url, "headers": { "Idempotency-Key": "order 5" } });
        assert_eq!(request(own).expect("a request").headers()[IDEMPOTENCY_KEY], "order 5");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let url = "http://example.org/";
        for data in [
            json!({ "url": "example.org" }),
            json!({ "url": "ftp://example.org" }),
            json!({ "url": "file:///etc/passwd" }),
            json!({ "url": url, "method": "CONNECT" }),
            json!({ "url": url, "method": "GET / HTTP/1.1" }),
            json!({ "url": url, "headers": { "Host": "other" } }),
            json!({ "url": url, "headers": { "Transfer-Encoding": "chunked" } }),
            json!({ "url": url, "headers": { "a b": "c" } }),
            json!({ "url": url, "headers": { "x": "a\r\nb: c" } }),
        ] {
            let error = request(data.clone()).expect_err("refused");
            assert!(matches!(error, KindError::Permanent { .. }), "{data}: {error}");
        }
    }
}
