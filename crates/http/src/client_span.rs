//! Requests to others, as a trace shows them.

use std::time::SystemTime;

use http::{HeaderMap, Uri};
use miniapp_types::trace::TraceContext;

use miniapp_telemetry::trace::{self, CompletedSpan, SpanHandle, SpanId, SpanKind};

/// A request to someone else, on behalf of the running code.
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
    /// Begins with a request that `service` is about to send.
    pub fn start(service: &'static str, method: &http::Method, uri: &str) -> Self {
        let context = trace::current_context();
        let Some(parent) = SpanHandle::current() else { return Self { context, recorded: None } };
        let id = trace::new_span_id();
        let context = trace::child_context(&context, id);
        let uri = uri.parse().unwrap_or_default();
        let (method, from) = (method.as_str().to_owned(), trace::now());
        Self { context, recorded: Some(Recorded { service, parent, id, from, method, uri }) }
    }

    /// The trace of the request, for its receiver.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        trace::inject(&self.context, &mut headers);
        headers
    }

    /// The same for a receiver that has no business with what a caller said about itself.
    pub fn headers_without_baggage(&self) -> HeaderMap {
        let mut headers = self.headers();
        headers.remove(trace::BAGGAGE);
        headers
    }

    /// It was answered with a status, or not, and why.
    pub fn end(self, answered: Result<u16, &'static str>) {
        let Some(Recorded { service, parent, id, from, method, uri }) = self.recorded else {
            return;
        };
        let span = CompletedSpan::new(&method, SpanKind::Client, &parent, from, trace::now());
        let port = uri.port_u16().or(match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
        let span = span
            .with_service(service)
            .with_id(id)
            .with_attribute("http.request.method", &method)
            .with_optional_attribute("url.full", full(&uri).as_deref())
            .with_optional_attribute("server.address", uri.host())
            .with_optional_attribute("server.port", port.map(i64::from));
        match answered {
            Ok(status) => {
                let span = span.with_attribute("http.response.status_code", i64::from(status));
                if status >= 400 { span.with_error(&status.to_string()) } else { span }
            }
            Err(error) => span.with_error(error),
        }
        .record();
    }
}

/// Where a request goes, without credentials and the query, which may hold secrets.
fn full(uri: &Uri) -> Option<String> {
    let authority = uri.authority()?.as_str();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    Some(format!("{}://{place}{}", uri.scheme_str()?, uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_url_holds_no_secrets() {
        let told = |uri: &str| full(&uri.parse().expect("a URI"));
        assert_eq!(
            told("https://me:secret@host:1/a/b?token=secret").as_deref(),
            Some("https://host:1/a/b")
        );
        assert_eq!(told("http://[::1]:8/").as_deref(), Some("http://[::1]:8/"));
        assert_eq!(told("/path"), None);
    }

    #[test]
    fn without_a_trace_nothing_is_sent_along() {
        let outgoing = ClientSpan::start("client", &http::Method::GET, "http://host/");
        assert!(outgoing.headers().is_empty());
        outgoing.end(Ok(200));
    }
}
