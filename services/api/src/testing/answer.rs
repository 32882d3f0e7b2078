//! A response with its body.

use axum::body::to_bytes;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use miniapp_http::X_TRACE_ID;
use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    pub headers: HeaderMap,
    body: String,
}

impl Answer {
    pub async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
        let body = String::from_utf8(body).expect("text");
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub fn body(&self) -> &str {
        &self.body
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().expect("text")
    }

    /// Returns status and code of a problem document, after checking its format.
    pub fn problem(&self) -> (u16, String) {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], self.status());
        assert_eq!(problem["traceId"], self.header(X_TRACE_ID.as_str()));
        let code = problem["code"].as_str().expect("a code");
        assert_eq!(problem["type"], format!("urn:miniapp:problem:{code}"));
        match code {
            "token_missing" => assert_eq!(self.header("www-authenticate"), "Bearer"),
            "scope_missing" => {
                let challenge = self.header("www-authenticate");
                let start = "Bearer error=\"insufficient_scope\", scope=\"";
                assert!(challenge.starts_with(start), "{challenge}");
            }
            _ if self.status == StatusCode::UNAUTHORIZED => {
                let challenge = self.header("www-authenticate");
                assert_eq!(challenge, "Bearer error=\"invalid_token\"");
            }
            _ => assert!(!self.headers.contains_key("www-authenticate")),
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(self.header("retry-after"), "1");
        }
        (self.status(), code.to_owned())
    }

    /// Returns the invalid fields that the problem lists.
    pub fn fields(&self) -> Vec<String> {
        assert_eq!(self.problem(), (422, "invalid_fields".to_owned()));
        let problem = self.json();
        let errors = problem["errors"].as_array().expect("errors");
        errors.iter().map(|error| error["field"].as_str().expect("a name").to_owned()).collect()
    }
}
