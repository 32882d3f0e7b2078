//! Builds the request from the data of a task.

use std::collections::BTreeMap;

use miniapp_kind::schemars::{self, JsonSchema};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::status::Expected;
use crate::kinds::KindError;

/// The allowed methods: all except CONNECT and TRACE.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Headers of the connection, which the client sets.
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

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ATTEMPT_ID: HeaderName = HeaderName::from_static("x-attempt-id");

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object with a `url`")]
#[schemars(example = json!({ "url": "https://example.com/", "method": "GET" }))]
pub struct Data {
    #[schemars(regex(pattern = "^[hH][tT][tT][pP][sS]?://"), extend("format" = "uri"))]
    url: String,
    #[serde(default = "get")]
    #[schemars(extend("enum" = METHODS))]
    method: String,
    /// `Idempotency-Key` is the same for all attempts, where none is given.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text as it is, or any other JSON.
    #[serde(default)]
    body: Value,
    /// The statuses that are results, such as 200 or "4xx"; others fail the task. By default all
    /// except 408, 425, 429 and 5xx. These four are retried unless they are expected.
    #[serde(default)]
    pub(super) expect: Vec<Expected>,
    /// Names of headers that the operator has configured for the host.
    #[serde(default)]
    pub(super) secret_headers: Vec<String>,
}

fn get() -> String {
    "GET".to_owned()
}

impl Data {
    /// Builds the request. `key` is the default idempotency key.
    pub(super) fn to_request(&self, key: &str, attempt_id: &str) -> Result<Request, KindError> {
        let url = Url::parse(&self.url)
            .map_err(|error| KindError::invalid_data(format!("url is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(KindError::invalid_data("url must begin with http:// or https://"));
        }
        let mut request = Request::new(method(&self.method)?, url);
        *request.headers_mut() = headers(&self.headers)?;
        for (name, value) in [(IDEMPOTENCY_KEY, key), (ATTEMPT_ID, attempt_id)] {
            if let Ok(value) = value.parse() {
                request.headers_mut().entry(name).or_insert(value);
            }
        }
        match &self.body {
            Value::Null => {}
            Value::String(text) => *request.body_mut() = Some(text.clone().into()),
            json => {
                *request.body_mut() = Some(json.to_string().into());
                let json = HeaderValue::from_static("application/json");
                request.headers_mut().entry(CONTENT_TYPE).or_insert(json);
            }
        }
        Ok(request)
    }
}

fn method(name: &str) -> Result<Method, KindError> {
    let name = name.to_ascii_uppercase();
    let known = METHODS.contains(&name.as_str());
    let method = Method::from_bytes(name.as_bytes()).ok().filter(|_| known);
    method.ok_or_else(|| {
        KindError::invalid_data(format!("method must be one of {}", METHODS.join(", ")))
    })
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, KindError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let shown: String = name.chars().take(64).collect();
        let refuse = |why| KindError::invalid_data(format!("headers: {shown:?} {why}"));
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
    use super::*;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::sample::select(&CONNECTION_HEADERS[..]).prop_map(str::to_owned),
            any::<String>()
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_data_builds_only_allowed_requests(
            url in prop_oneof![any::<String>(), "(https?|ftp|file)://[a-z0-9.]{0,20}[/?#]?[a-z]{0,9}"],
            method in prop_oneof![any::<String>(), "[A-Za-z]{3,7}"],
            headers in btree_map(any_header(), any::<String>(), 0..4),
        ) {
            let data = json!({ "url": url, "method": method, "headers": headers });
            let Ok(request) = request(data) else { return Ok(()) };
            prop_assert!(matches!(request.url().scheme(), "http" | "https"));
            prop_assert!(METHODS.contains(&request.method().as_str()));
            for name in CONNECTION_HEADERS {
                prop_assert!(!request.headers().contains_key(name));
            }
        }
    }

    fn request(data: Value) -> Result<Request, KindError> {
        serde_json::from_value::<Data>(data).expect("of the right form").to_request("7.1", "7-2")
    }

    #[test]
    fn request_is_built_from_the_data() {
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
    fn idempotency_key_defaults_to_that_of_the_task() {
        let url = "http://example.org/";
        let made = request(json!({ "url": url })).expect("a request");
        assert_eq!(made.headers()[IDEMPOTENCY_KEY], "7.1");
        assert_eq!(made.headers()[ATTEMPT_ID], "7-2");
        let own = json!({ "url": url, "headers": { "Idempotency-Key": "order 5" } });
        assert_eq!(request(own).expect("a request").headers()[IDEMPOTENCY_KEY], "order 5");
    }

    #[test]
    fn invalid_requests_are_rejected() {
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
