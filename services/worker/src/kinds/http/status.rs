//! Which statuses of a response are results, and which are retried.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::rfc2822::DateTimeParser;
use miniapp_kind::KindError;
use miniapp_kind::schemars::{self, JsonSchema};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use serde::Deserialize;

/// The shortest delay that `Retry-After` can request.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A status, or a class such as `2xx`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expect has statuses such as 200 and classes such as \"4xx\"")]
pub enum Expected {
    Status(#[schemars(range(min = 100, max = 599))] u16),
    Class(Class),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub enum Class {
    #[serde(rename = "1xx")]
    Informational = 1,
    #[serde(rename = "2xx")]
    Success = 2,
    #[serde(rename = "3xx")]
    Redirection = 3,
    #[serde(rename = "4xx")]
    ClientError = 4,
    #[serde(rename = "5xx")]
    ServerError = 5,
}

impl Expected {
    fn includes(&self, status: StatusCode) -> bool {
        match self {
            Self::Status(expected) => *expected == status.as_u16(),
            Self::Class(class) => *class as u16 == status.as_u16() / 100,
        }
    }
}

/// Returns the error for a status that is no result.
pub(super) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    expect: &[Expected],
) -> Result<(), KindError> {
    let is_temporary = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
    let is_expected = expect.iter().any(|expected| expected.includes(status));
    if is_expected || (expect.is_empty() && !is_temporary) {
        return Ok(());
    }
    let message = format!("The server responded with {status}");
    if !is_temporary {
        return Err(KindError::permanent("unexpected_status", message));
    }
    let error = KindError::retryable("unexpected_status", message);
    Err(match retry_after(headers) {
        Some(delay) => error.with_retry_in(delay.max(MIN_RETRY_AFTER)),
        None => error,
    })
}

/// Returns the delay that a response requests. A time is relative to the time of the response, so
/// that the clocks need not agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let retry_after = text(RETRY_AFTER)?;
    if let Ok(seconds) = retry_after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let delay: SignedDuration = time(retry_after)?.duration_since(time(text(DATE)?)?);
    Duration::try_from(delay).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn result(status: u16, expect: &Value) -> Result<(), KindError> {
        let expect: Vec<Expected> = serde_json::from_value(expect.clone()).expect("valid");
        check(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), &expect)
    }

    #[test]
    fn temporary_failures_are_retried() {
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            for expect in [json!([]), json!(["2xx"])] {
                let error = result(status, &expect).expect_err("no result");
                assert!(matches!(error, KindError::Retryable { .. }), "{status}: {error}");
            }
            let class = format!("{}xx", status / 100);
            assert_eq!(result(status, &json!([class])), Ok(()), "{status}");
            assert_eq!(result(status, &json!([200, status])), Ok(()), "{status}");
        }
    }

    #[test]
    fn other_statuses_are_results_unless_others_are_expected() {
        for status in [200, 204, 302, 400, 401, 404, 409, 418] {
            assert_eq!(result(status, &json!([])), Ok(()), "{status}");
            assert_eq!(result(status, &json!([status])), Ok(()), "{status}");
            let error = result(status, &json!([201, "5xx"])).expect_err("no result");
            assert!(matches!(error, KindError::Permanent { .. }), "{status}: {error}");
            assert_eq!(error.code(), Some("unexpected_status"));
        }
    }

    #[test]
    fn retry_after_sets_the_delay() {
        for (retry_after, date, expected) in [
            ("120", "", Some(120)),
            ("0", "", Some(1)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", "", None),
            ("Sun, 06 Nov 1994 08:48:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", None),
            ("soon", "", None),
            ("-1", "", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, retry_after.parse().expect("a value"));
            if !date.is_empty() {
                headers.insert(DATE, date.parse().expect("a value"));
            }
            let error = check(StatusCode::SERVICE_UNAVAILABLE, &headers, &[]).expect_err("busy");
            let KindError::Retryable { retry_in, .. } = error else { panic!("{error}") };
            assert_eq!(retry_in, expected.map(Duration::from_secs), "{retry_after}");
        }
    }
}
