//! Problem documents (RFC 9457) as responses.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use miniapp_types::fields::BodyError;
use miniapp_types::problem::{self, Code, FieldError};

use miniapp_telemetry::trace;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error response with a stable code and the trace id. The cause of an internal error is
/// logged and not sent.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    status: StatusCode,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Cause>,
}

/// The cause of an internal error, in the extensions of its response: it is logged there and
/// not sent.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub Arc<str>);

impl Problem {
    /// Creates a problem with the status and title of its code.
    pub fn new(code: Code) -> Self {
        let status = StatusCode::from_u16(code.status());
        Self(Box::new(Parts {
            code,
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            detail: None,
            errors: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// Creates a 500. The source is logged, the client gets the trace id.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Internal).caused_by(&source.into())
    }

    /// Creates a 503: a dependency is down. The source is logged.
    pub fn unavailable(source: impl Into<anyhow::Error>) -> Self {
        let problem = Self::new(Code::Unavailable).caused_by(&source.into());
        problem.retry_after(Duration::from_secs(1))
    }

    fn caused_by(mut self, source: &anyhow::Error) -> Self {
        self.0.cause = Some(Cause(format!("{source:#}").into()));
        self
    }

    /// Creates a 422 for several fields.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        Self::new(Code::InvalidFields).errors(errors)
    }

    /// Creates a 422 for one field.
    pub fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// Describes this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Sets `Retry-After`, rounded up to whole seconds.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        self.header(RETRY_AFTER, seconds.max(1).into())
    }

    /// Overrides the status of the code.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Returns the challenge of a 401 (RFC 6750).
    fn challenge(&self) -> Option<HeaderValue> {
        if self.0.status != StatusCode::UNAUTHORIZED {
            return None;
        }
        Some(HeaderValue::from_static(match self.0.code {
            Code::TokenMissing | Code::CredentialsInvalid => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        }))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let challenge = self.challenge();
        let Parts { code, status, detail, errors, headers, cause } = *self.0;
        let trace_id = trace::current_trace_id().map(|id| id.to_string()).unwrap_or_default();
        let document = problem::Problem {
            status: status.as_u16(),
            detail: detail.map(Cow::into_owned),
            errors,
            ..problem::Problem::new(code, trace_id)
        };
        // Strings and numbers always serialize.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response.headers_mut().extend(headers);
        response.extensions_mut().insert(code);
        if let Some(cause) = cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.detail.as_deref().unwrap_or(self.0.code.title()))
    }
}

impl std::error::Error for Problem {}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::NotAnObject => {
                Self::new(Code::MalformedBody).detail("the body must be a JSON object")
            }
            BodyError::Fields(errors) => Self::invalid_fields(errors),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(source: anyhow::Error) -> Self {
        Self::internal(source)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn render(problem: Problem) -> (http::response::Parts, Value) {
        let (parts, body) = problem.into_response().into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        (parts, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn response_is_a_problem_document() {
        let problem = Problem::invalid_field("ttl", "is required").detail("no");
        let (parts, body) = render(problem).await;
        assert_eq!(parts.status, 422);
        assert_eq!(parts.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            body,
            json!({
                "type": "urn:miniapp:problem:invalid_fields",
                "title": "Some fields are not acceptable",
                "status": 422,
                "detail": "no",
                "code": "invalid_fields",
                "traceId": "",
                "errors": [{"field": "ttl", "message": "is required"}],
            })
        );
    }

    #[tokio::test]
    async fn internal_error_does_not_send_its_source() {
        let (parts, body) = render(Problem::internal(anyhow::anyhow!("the password is x"))).await;
        assert_eq!(parts.status, 500);
        assert!(!body.to_string().contains("password"));
    }

    #[tokio::test]
    async fn unauthorized_has_a_challenge() {
        let challenge = async |problem| {
            let (parts, _) = render(problem).await;
            let value = parts.headers.get(WWW_AUTHENTICATE)?;
            value.to_str().ok().map(str::to_owned)
        };
        let invalid = Some("Bearer error=\"invalid_token\"".to_owned());
        assert_eq!(challenge(Problem::new(Code::TokenMissing)).await, Some("Bearer".to_owned()));
        assert_eq!(challenge(Problem::new(Code::TokenRevoked)).await, invalid);
        let introspected = Problem::new(Code::TokenRevoked).status(StatusCode::BAD_REQUEST);
        assert_eq!(challenge(introspected).await, None);
    }

    #[tokio::test]
    async fn retry_after_is_rounded_up() {
        let problem = Problem::new(Code::TooManyRequests).retry_after(Duration::from_millis(1001));
        let (parts, _) = render(problem).await;
        assert_eq!(parts.headers[RETRY_AFTER], "2");
    }
}
