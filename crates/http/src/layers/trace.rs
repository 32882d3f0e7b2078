//! The server span of a request, and the trace id of its response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::header::{HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Version};
use miniapp_telemetry::trace::SERVICE;
use miniapp_telemetry::trace::{self, RequestScope};
use opentelemetry::trace::{Status, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use tower::{Layer, Service};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::logged_path::logged_path;
use super::method::known_method;
use crate::client::Peer;

/// The trace id, in every response.
pub const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The span of a request, in its extensions if the trace is recorded.
#[derive(Clone, Debug)]
pub(super) struct RecordedSpan(pub Context);

#[derive(Clone, Debug)]
pub(crate) struct TraceLayer {
    /// The service of the span, if the process consists of several.
    pub service: Option<&'static str>,
    /// The keys of baggage that become attributes.
    pub baggage_keys: Arc<[String]>,
    /// Whether requests have spans.
    pub has_spans: bool,
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { layer: self.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Trace<S> {
    layer: TraceLayer,
    inner: S,
}

impl<S> Service<Request> for Trace<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Traced<S::Future>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Traced<S::Future> {
        let service = self.layer.service;
        let (span, recorded, trace_id) = self.layer.start_span(&request);
        if let Some(context) = &recorded {
            describe_request(context, &request);
            self.layer.describe_caller(context, &request);
            request.extensions_mut().insert(RecordedSpan(context.clone()));
        }
        let inner = {
            let _scope = RequestScope::enter(trace_id, recorded.is_some(), service);
            span.in_scope(|| self.inner.call(request))
        };
        Traced { inner, span, recorded, trace_id, service }
    }
}

impl TraceLayer {
    /// Starts the span of a request, in the trace of its caller if there is one. Returns its
    /// context if it is recorded.
    fn start_span(&self, request: &Request) -> (Span, Option<Context>, TraceId) {
        let span = if self.has_spans {
            // What the sampler needs. The rest is set later, and only if the span is recorded.
            tracing::info_span!(
                "request",
                otel.kind = "server",
                http.request.method = known_method(request.method()),
                http.route = route(request),
            )
        } else {
            Span::none()
        };
        let parent = trace::context_from_headers(request.headers());
        let parent_trace = parent.as_ref().map(|parent| parent.span().span_context().trace_id());
        if let Some(parent) = parent {
            trace::set_parent_context(&span, parent);
        }
        let context = span.context();
        let identity = context.span().span_context().clone();
        if self.has_spans && identity.is_valid() {
            (span, identity.is_sampled().then_some(context), identity.trace_id())
        } else {
            // The response has a trace id even without telemetry.
            let id = parent_trace.unwrap_or_else(|| TraceId::from(rand::random::<u128>()));
            (span, None, id)
        }
    }

    fn describe_caller(&self, context: &Context, request: &Request) {
        let span = context.span();
        if let Some(service) = self.service {
            span.set_attribute(KeyValue::new(SERVICE, service));
        }
        if self.baggage_keys.is_empty() {
            return;
        }
        let baggage = trace::extract(request.headers()).baggage.unwrap_or_default();
        for key in &*self.baggage_keys {
            if let Some(value) = trace::baggage_item(&baggage, key) {
                span.set_attribute(KeyValue::new(format!("baggage.{key}"), value));
            }
        }
    }
}

/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>, without the query, which
/// may hold secrets.
fn describe_request(context: &Context, request: &Request) {
    let method = known_method(request.method());
    let uri = request.uri();
    let route = route(request);
    let peer = request.extensions().get::<Peer>();
    let version = match request.version() {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or(header(HOST));
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let port = host.as_ref().and_then(Authority::port_u16);
    let attributes = [
        Some(KeyValue::new("url.scheme", "http")),
        Some(KeyValue::new("url.path", logged_path(uri.path()).into_owned())),
        Some(KeyValue::new("network.protocol.version", version)),
        host.map(|host| KeyValue::new("server.address", host.host().to_owned())),
        port.map(|port| KeyValue::new("server.port", i64::from(port))),
        header(USER_AGENT).map(|agent| KeyValue::new("user_agent.original", agent.to_owned())),
        peer.map(|Peer(peer)| KeyValue::new("client.address", peer.ip().to_string())),
    ];
    let span = context.span();
    span.set_attributes(attributes.into_iter().flatten());
    match route {
        Some(route) => span.update_name(format!("{method} {route}")),
        None => span.update_name(method),
    }
}

fn route(request: &Request) -> Option<&str> {
    request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)
}

fn describe_response(context: &Context, response: &Response) {
    let (span, status) = (context.span(), response.status());
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
}

pin_project_lite::pin_project! {
    pub(crate) struct Traced<F> {
        #[pin]
        inner: F,
        span: Span,
        recorded: Option<Context>,
        trace_id: TraceId,
        service: Option<&'static str>,
    }
}

impl<F> Future for Traced<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _scope = RequestScope::enter(*this.trace_id, this.recorded.is_some(), *this.service);
        let _entered = this.span.enter();
        let Ok(mut response) = ready!(this.inner.poll(context));
        if let Some(context) = this.recorded {
            describe_response(context, &response);
        }
        let mut id = String::with_capacity(32);
        trace::push_hex(&mut id, &this.trace_id.to_bytes());
        if let Ok(value) = HeaderValue::try_from(id) {
            response.headers_mut().insert(X_TRACE_ID, value);
        }
        Poll::Ready(Ok(response))
    }
}
