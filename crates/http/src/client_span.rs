//! Client spans of outgoing requests.

use std::time::SystemTime;

use http::{HeaderMap, Uri};
use miniapp_types::trace::TraceContext;

use miniapp_telemetry::trace::{self, CompletedSpan, SpanHandle, SpanId, SpanKind};

/// The span of an outgoing request, below the current span.
#[must_use = "the span is recorded when it ends"]
#[derive(Debug)]
pub struct ClientSpan {
    context: TraceContext,
    recorded: Option<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    service: &'static str,
    parent: SpanHandle,
    id: SpanId,
    from: SystemTime,
    method: String,
    uri: Uri,
}

impl ClientSpan {
    /// Starts the span of a request that `service` is about to send.
    pub fn start(service: &'static str, method: &http::Method, uri: &str) -> Self {
        let context = trace::current_context();
        let Some(parent) = SpanHandle::current() else { return Self { context, recorded: None } };
        let id = trace::new_span_id();
        let context = trace::child_context(&context, id);
        let uri = uri.parse().unwrap_or_default();
        let (method, from) = (method.as_str().to_owned(), trace::now());
        Self { context, recorded: Some(Recorded { service, parent, id, from, method, uri }) }
    }

    /// Returns the headers that propagate the trace.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        trace::inject(&self.context, &mut headers);
        headers
    }

    /// Returns the headers for a receiver outside of the platform, which must not see the
    /// caller's baggage.
    pub fn headers_without_baggage(&self) -> HeaderMap {
        let mut headers = self.headers();
        headers.remove(trace::BAGGAGE);
        headers
    }

    /// Records the span with the status of the response, or the type of the error.
    pub fn end(self, outcome: Result<u16, &'static str>) {
        let Some(Recorded { service, parent, id, from, method, uri }) = self.recorded else {
            return;
        };
        let span =
            CompletedSpan::new(method.clone(), SpanKind::Client, &parent, from, trace::now());
        let port = uri.port_u16().or(match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
        let span = span
            .with_service(service)
            .with_id(id)
            .with_attribute("http.request.method", method)
            .with_optional_attribute("url.full", redacted_url(&uri))
            .with_optional_attribute("server.address", uri.host().map(ToOwned::to_owned))
            .with_optional_attribute("server.port", port.map(i64::from));
        match outcome {
            Ok(status) => {
                let span = span.with_attribute("http.response.status_code", i64::from(status));
                if status >= 400 { span.with_error(status.to_string()) } else { span }
            }
            Err(error) => span.with_error(error),
        }
        .record();
    }
}

/// Returns the URL without credentials and query, which may hold secrets.
fn redacted_url(uri: &Uri) -> Option<String> {
    let authority = uri.authority()?.as_str();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(format!("{}://{host}{}", uri.scheme_str()?, uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_url_has_no_secrets() {
        let recorded = |uri: &str| redacted_url(&uri.parse().expect("a URI"));
        assert_eq!(
            recorded("https://me:secret@host:1/a/b?token=secret").as_deref(),
            Some("https://host:1/a/b")
        );
        assert_eq!(recorded("http://[::1]:8/").as_deref(), Some("http://[::1]:8/"));
        assert_eq!(recorded("/path"), None);
    }

    #[test]
    fn headers_are_empty_without_a_trace() {
        let outgoing = ClientSpan::start("client", &http::Method::GET, "http://host/");
        assert!(outgoing.headers().is_empty());
        outgoing.end(Ok(200));
    }
}
