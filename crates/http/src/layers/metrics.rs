//! Duration and number of requests, by the names of OpenTelemetry's conventions.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use miniapp_telemetry::metrics::{self, Exemplar, Gauge, Histograms, SHORT_BUCKETS};
use opentelemetry::trace::TraceContextExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use tower::{Layer, Service};

use super::method::known_method;
use super::trace::RecordedSpan;

static DURATIONS: LazyLock<Histograms<Labels>> = LazyLock::new(|| {
    let help = "Duration of HTTP requests";
    metrics::histograms("http_server_request_duration", help, SHORT_BUCKETS)
});

static ACTIVE: LazyLock<Gauge> =
    LazyLock::new(|| metrics::gauge("http_server_active_requests", "HTTP requests in progress"));

#[expect(clippy::struct_field_names, reason = "the names of the convention")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    /// Empty without a matching route: clients choose paths, and must not choose labels.
    http_route: String,
    http_response_status_code: u16,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricsLayer;

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics(inner)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics<S>(S);

impl<S> Service<Request> for Metrics<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Measured<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Measured<S::Future> {
        let started = Instant::now();
        let method = known_method(request.method());
        let route = request.extensions().get().cloned();
        let span = request.extensions().get().cloned();
        let active = ActiveGuard::new();
        Measured { inner: self.0.call(request), started, method, route, span, _active: active }
    }
}

pin_project_lite::pin_project! {
    pub(crate) struct Measured<F> {
        #[pin]
        inner: F,
        started: Instant,
        method: &'static str,
        route: Option<MatchedPath>,
        span: Option<RecordedSpan>,
        _active: ActiveGuard,
    }
}

impl<F> Future for Measured<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(context));
        let labels = Labels {
            http_request_method: this.method,
            http_route: this.route.as_ref().map_or("", MatchedPath::as_str).to_owned(),
            http_response_status_code: response.status().as_u16(),
        };
        let span = this.span.as_ref().map(|RecordedSpan(context)| context.span());
        let exemplar = span.and_then(|span| Exemplar::from_span_context(span.span_context()));
        DURATIONS.observe(&labels, this.started.elapsed(), exemplar);
        Poll::Ready(Ok(response))
    }
}

/// Counts a request as active until it is dropped.
struct ActiveGuard(());

impl ActiveGuard {
    fn new() -> Self {
        ACTIVE.inc();
        Self(())
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        ACTIVE.dec();
    }
}
