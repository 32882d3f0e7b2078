//! The headers of requests for events.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{ACCEPT, HeaderName};
use http::request::Parts;
use miniapp_http::Problem;
use uuid::Uuid;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `Last-Event-ID`: the last event that the client has received.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastEventId(pub Option<Uuid>);

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(LAST_EVENT_ID) else { return Ok(Self(None)) };
        if value.is_empty() {
            return Ok(Self(None));
        }
        let id = value.to_str().ok().and_then(|text| text.parse::<Uuid>().ok());
        let id = id.filter(|id| id.get_version() == Some(uuid::Version::SortRand));
        let fault = || Problem::invalid_field("Last-Event-ID", "must be the id of an event");
        id.map(|id| Self(Some(id))).ok_or_else(fault)
    }
}

/// Whether `Accept` prefers an event stream over a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantsStream(pub bool);

impl<S: Send + Sync> FromRequestParts<S> for WantsStream {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(wants_stream(&parts.headers)))
    }
}

/// The stream has to be listed explicitly, with at least the weight of JSON.
fn wants_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<(&str, f32)> = values.flat_map(|value| value.split(',')).map(range).collect();
    let weight = |name: &str| {
        let named = ranges.iter().filter(|(range, _)| range.eq_ignore_ascii_case(name));
        named.map(|(_, weight)| *weight).fold(0.0, f32::max)
    };
    let stream = weight("text/event-stream");
    stream > 0.0 && stream >= weight("application/json")
}

/// Parses a media range and its weight (RFC 9110, 12.4.2).
fn range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http::{HeaderValue, Request};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_headers_are_parsed_without_panic(bytes in vec(any::<u8>(), 0..60)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, value.clone());
            wants_stream(&headers);
            let request = Request::builder().header(LAST_EVENT_ID, value).body(());
            let (mut parts, ()) = request.expect("a request").into_parts();
            let last = LastEventId::from_request_parts(&mut parts, &());
            if let Ok(LastEventId(Some(id))) = last.now_or_never().expect("ready") {
                prop_assert_eq!(id.get_version(), Some(uuid::Version::SortRand));
            }
        }
    }

    #[test]
    fn accept_selects_the_stream() {
        let cases = [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("text/event-stream", true),
            ("TEXT/event-stream; charset=utf-8", true),
            ("text/event-stream, */*;q=0.1", true),
            ("application/json;q=0.5, text/event-stream", true),
            ("application/json, text/event-stream", true),
            ("application/json, text/event-stream;q=0.9", false),
            ("text/event-stream;q=0", false),
            ("text/event-stream;q=x", false),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_stream(&headers), expected, "{accept}");
        }
    }
}
