//! Request bodies within limits of size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use miniapp_types::body::JsonBody;
use miniapp_types::fields::{Fields, FromFields};
use miniapp_types::problem::Code;
use tokio::time::{Instant, timeout_at};

use crate::memory::RequestBytes;
use crate::problem::Problem;

/// How long a body may be slower than its minimum rate.
const RATE_GRACE: Duration = Duration::from_secs(5);
/// Larger frames are used without a copy.
const MIN_FRAME_KEPT: usize = 4 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// In bytes.
    pub size: usize,
    /// How long the body may take to arrive.
    pub timeout: Duration,
    /// How many bytes have to arrive in a second, after the first seconds.
    pub rate: usize,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { size: 1 << 20, timeout: Duration::from_secs(30), rate: 1024 }
    }
}

/// Extracts a JSON body. Rejects it with 413, 415, 400 for malformed JSON, or 422 with every
/// error of its fields.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: FromFields> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(T::from_body(read_json(request).await?)?))
    }
}

/// Extracts no body, or an empty object. Rejects anything else with 422.
#[derive(Clone, Copy, Debug)]
pub struct EmptyBody;

impl<S: Send + Sync> FromRequest<S> for EmptyBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read_body(request).await?;
        if body.is_empty() {
            return Ok(Self);
        }
        match JsonBody::parse(without_byte_order_mark(&body)) {
            Ok(JsonBody::Object(object)) => Ok(Fields::new(object).finish(Some(Self))?),
            _ => Err(Problem::invalid_field("", "must be no body or {}")),
        }
    }
}

/// Reads a JSON body without reading its fields. A byte order mark is skipped.
pub async fn read_json(request: Request) -> Result<JsonBody, Problem> {
    if !request.headers().get(CONTENT_TYPE).is_some_and(is_json) {
        return Err(Problem::new(Code::UnsupportedMediaType));
    }
    let body = read_body(request).await?;
    // The message of the error may quote the body, which may hold secrets.
    JsonBody::parse(without_byte_order_mark(&body)).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = if error.is_eof() {
            "the body ends too early".to_owned()
        } else {
            format!("the body can't be read from line {line}, column {column} on")
        };
        Problem::new(Code::MalformedBody).detail(detail)
    })
}

/// Reads a whole body within the limits of its router. Rejects it with 415 if it is compressed.
pub async fn read_body(request: Request) -> Result<Bytes, Problem> {
    if !has_identity_encoding(request.headers()) {
        let problem = Problem::new(Code::UnsupportedMediaType).detail("a body can't be compressed");
        return Err(problem.header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    let limits = request.extensions().get::<BodyLimits>().copied().unwrap_or_default();
    if declared_length(request.headers()).is_some_and(|length| length > limits.size as u64) {
        return Err(too_large(limits.size));
    }
    let memory = request.extensions().get::<Arc<RequestBytes>>().cloned();
    let began_at = Instant::now();
    let mut body = request.into_body();
    // Most bodies arrive in one frame, which is used without a copy. A small one is copied: it
    // may be a part of a much larger buffer.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let received = first.len() + rest.len();
        let frame = timeout_at(began_at + limits.time_for(received), body.frame()).await;
        let frame = match frame.map_err(|_| closing(Problem::new(Code::RequestTimeout)))? {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                let problem = Problem::new(Code::MalformedBody);
                return Err(problem.detail("the body could not be read to its end"));
            }
            None => break,
        };
        let Ok(data) = frame.into_data() else { continue };
        if received + data.len() > limits.size {
            return Err(too_large(limits.size));
        }
        if let Some(memory) = &memory {
            memory.add(data.len()).map_err(closing)?;
        }
        if received == 0 && (body.is_end_stream() || data.len() >= MIN_FRAME_KEPT) {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    Ok(match (first.is_empty(), rest.is_empty()) {
        (_, true) => first,
        (true, false) => rest.freeze(),
        (false, false) => [&first[..], &rest[..]].concat().into(),
    })
}

impl BodyLimits {
    /// Returns how long the next bytes may take after `received` bytes, since the begin.
    fn time_for(&self, received: usize) -> Duration {
        let seconds = received.checked_div(self.rate).and_then(|it| u64::try_from(it).ok());
        let slowest = seconds.map_or(Duration::MAX, |it| RATE_GRACE + Duration::from_secs(it));
        self.timeout.min(slowest)
    }
}

fn too_large(limit: usize) -> Problem {
    closing(Problem::new(Code::BodyTooLarge).detail(format!("a body may have {limit} bytes")))
}

/// Announces that the connection ends: the rest of the body is unread, so it cannot carry
/// another request.
fn closing(problem: Problem) -> Problem {
    problem.header(CONNECTION, HeaderValue::from_static("close"))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

fn has_identity_encoding(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.all(|coding| {
        matches!(coding.trim_ascii().to_ascii_lowercase().as_slice(), b"" | b"identity")
    })
}

/// Whether it is `application/json` or `application/*+json` in UTF-8.
fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    let is_utf8 = parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    is_json && is_utf8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_json_accepts_media_types_of_json() {
        let accepted = [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/merge-patch+json",
        ];
        for name in accepted {
            assert!(is_json(&HeaderValue::from_static(name)), "{name}");
        }
        for name in ["", "text/plain", "application/jsonp", "application/json; charset=latin1"] {
            assert!(!is_json(&HeaderValue::from_static(name)), "{name}");
        }
    }

    #[test]
    fn only_identity_is_no_encoding() {
        let has_identity = |values: &[&'static str]| {
            let values =
                values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
            has_identity_encoding(&values.collect())
        };
        for values in
            [&[][..], &["identity"], &["Identity, identity"], &["identity", "identity"], &[""]]
        {
            assert!(has_identity(values), "{values:?}");
        }
        for values in [&["gzip"][..], &["identity, br"], &["identity", "gzip"], &["x"]] {
            assert!(!has_identity(values), "{values:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn is_json_handles_any_content_type(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
        ) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let is_application = bytes.trim_ascii().to_ascii_lowercase().starts_with(b"application/");
                proptest::prop_assert!(!is_json(&value) || is_application);
            }
        }
    }
}
