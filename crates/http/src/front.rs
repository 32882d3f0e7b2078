//! What every request passes first: one layer that does all of it at once, because it
//! is on the path of each.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, USER_AGENT};
use http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use miniapp_types::problem::Code;
use opentelemetry::trace::{Status, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use tower::{Layer, Service};
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::problem::Cause;
use super::{BodyLimits, Peer, Problem, Proxies, metrics};
use miniapp_telemetry::metrics::Exemplar;
use miniapp_telemetry::otlp::SERVICE;
use miniapp_telemetry::trace::{self, RequestScope};

/// The trace of the request, on every answer.
pub const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// What an answer says about itself unless it says otherwise.
const DEFAULT_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// How much a listener says about its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestLog {
    /// A line for each.
    #[default]
    Normal,
    /// A line for each, where details are wanted: for probes.
    Quiet,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Front {
    pub(super) limits: BodyLimits,
    pub(super) request_log: RequestLog,
    /// Whose requests these are, where a process has several parts.
    pub(super) service: Option<&'static str>,
    /// Which of a caller's baggage is told of.
    pub(super) baggage_keys: Arc<[String]>,
    pub(super) proxies: Proxies,
}

impl<S> Layer<S> for Front {
    type Service = FrontService<S>;

    fn layer(&self, inner: S) -> FrontService<S> {
        FrontService { front: self.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct FrontService<S> {
    front: Front,
    inner: S,
}

impl<S> Service<Request> for FrontService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Answer<S::Future> {
        self.front.find_client(&mut request);
        let asked = Asked {
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            peer: request.extensions().get::<Peer>().copied(),
            at: Instant::now(),
        };
        let (span, recorded, trace_id) = begin_span(&request);
        if let Some(recorded) = &recorded {
            asked.describe(recorded, &request);
            self.front.describe(recorded, &request);
        }
        request.extensions_mut().insert(self.front.limits);
        let inner = {
            let _within = RequestScope::enter(trace_id, recorded.is_some(), self.front.service);
            span.in_scope(|| self.inner.call(request))
        };
        let Front { request_log, service, .. } = self.front;
        let active = metrics::Active::begin();
        Answer { inner, span, recorded, trace_id, asked, request_log, service, active }
    }
}

impl Front {
    /// Puts the client that a proxy speaks for in the proxy's place.
    fn find_client(&self, request: &mut Request) {
        let Some(Peer(peer)) = request.extensions().get() else { return };
        if let Some(client) = self.proxies.client(peer.ip(), request.headers()) {
            // Its port is the proxy's secret.
            request.extensions_mut().insert(Peer((client, 0).into()));
        }
    }

    /// Says what the span of a request tells besides the request itself.
    fn describe(&self, recorded: &Context, request: &Request) {
        let span = recorded.span();
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

/// A request, as far as it is told about afterwards.
struct Asked {
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    peer: Option<Peer>,
    at: Instant,
}

/// The span of a request, in its caller's trace if there is one.
fn begin_span(request: &Request) -> (Span, Option<Context>, TraceId) {
    // Names and attributes are for those spans alone that are recorded.
    let span = tracing::info_span!("request", otel.kind = "server");
    let parent = trace::context_from_headers(request.headers());
    let parent_trace = parent.as_ref().map(|parent| parent.span().span_context().trace_id());
    if let Some(parent) = parent {
        trace::set_parent_context(&span, parent);
    }
    let context = span.context();
    let identity = context.span().span_context().clone();
    if identity.is_valid() {
        (span, identity.is_sampled().then_some(context), identity.trace_id())
    } else {
        // Without telemetry the answer still has an id to be asked about.
        let id = parent_trace.unwrap_or_else(|| TraceId::from(rand::random::<u128>()));
        (span, None, id)
    }
}

pin_project_lite::pin_project! {
    /// The answer to be, watched on its way.
    pub(super) struct Answer<F> {
        #[pin]
        inner: F,
        span: Span,
        recorded: Option<Context>,
        trace_id: TraceId,
        asked: Asked,
        request_log: RequestLog,
        service: Option<&'static str>,
        active: metrics::Active,
    }
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _within = RequestScope::enter(*this.trace_id, this.recorded.is_some(), *this.service);
        let _entered = this.span.enter();
        // The future is not polled again after a panic, so nobody sees it half done.
        let polled = catch_unwind(AssertUnwindSafe(|| this.inner.poll(context)));
        let mut response = match polled {
            Ok(polled) => match ready!(polled) {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(_) => Problem::new(Code::Internal).into_response(),
        };
        add_headers(&mut response, *this.trace_id);
        this.asked.tell(&response, this.recorded.as_ref(), *this.request_log);
        Poll::Ready(Ok(response))
    }
}

fn add_headers(response: &mut Response, trace_id: TraceId) {
    let headers = response.headers_mut();
    headers.reserve(DEFAULT_HEADERS.len() + 1);
    for (name, value) in DEFAULT_HEADERS {
        headers.entry(name).or_insert(value);
    }
    let mut id = String::with_capacity(32);
    trace::push_hex(&mut id, &trace_id.to_bytes());
    if let Ok(value) = HeaderValue::try_from(id) {
        headers.insert(X_TRACE_ID, value);
    }
}

impl Asked {
    /// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>, without the query,
    /// which may hold secrets.
    fn describe(&self, recorded: &Context, request: &Request) {
        let method = known_method(&self.method);
        let version = match request.version() {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let host = self.uri.authority().map(Authority::as_str).or(header(HOST));
        let host = host.and_then(|host| host.parse::<Authority>().ok());
        let port = host.as_ref().and_then(Authority::port_u16);
        let said = [
            Some(KeyValue::new("http.request.method", method)),
            Some(KeyValue::new("url.scheme", "http")),
            Some(KeyValue::new("url.path", self.uri.path().to_owned())),
            Some(KeyValue::new("network.protocol.version", version)),
            host.map(|host| KeyValue::new("server.address", host.host().to_owned())),
            port.map(|port| KeyValue::new("server.port", i64::from(port))),
            header(USER_AGENT).map(|agent| KeyValue::new("user_agent.original", agent.to_owned())),
            self.route.as_ref().map(|route| KeyValue::new("http.route", route.as_str().to_owned())),
            self.peer.map(|Peer(peer)| KeyValue::new("client.address", peer.ip().to_string())),
        ];
        let span = recorded.span();
        span.set_attributes(said.into_iter().flatten());
        match &self.route {
            Some(route) => span.update_name(format!("{method} {}", route.as_str())),
            None => span.update_name(method),
        }
    }

    fn tell(&self, response: &Response, recorded: Option<&Context>, request_log: RequestLog) {
        let status = response.status();
        let took = self.at.elapsed();
        let route = self.route.as_ref().map_or("", MatchedPath::as_str);
        let method = known_method(&self.method);
        let exemplar = recorded
            .and_then(|recorded| Exemplar::from_span_context(recorded.span().span_context()));
        metrics::answered(method, route, status, took, exemplar);
        if let Some(recorded) = recorded {
            let span = recorded.span();
            let code = i64::from(status.as_u16());
            span.set_attribute(KeyValue::new("http.response.status_code", code));
            if status.is_server_error() {
                span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
                span.set_status(Status::error(""));
            }
        }
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    method,
                    path = self.uri.path(),
                    status = status.as_u16(),
                    code = response.extensions().get::<Code>().map(<&str>::from),
                    took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    client = self.peer.map(|Peer(peer)| tracing::field::display(peer.ip())),
                    error = response.extensions().get().map(|Cause(cause)| &**cause),
                    "answered"
                )
            };
        }
        // One line a request. Who looks for trouble finds it by its level: ours is an error, that
        // of what we depend on a warning.
        match (request_log, status) {
            (RequestLog::Quiet, _) => line!(Level::DEBUG),
            (RequestLog::Normal, StatusCode::INTERNAL_SERVER_ERROR) => line!(Level::ERROR),
            (RequestLog::Normal, _) if status.is_server_error() => line!(Level::WARN),
            (RequestLog::Normal, _) => line!(Level::INFO),
        }
    }
}

/// The method, of those that there are: what a client makes up must not become a name of
/// a span or the label of a metric.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}
