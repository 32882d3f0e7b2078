//! One log line per request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, Uri};
use miniapp_types::problem::Code;
use tower::{Layer, Service};
use tracing::Level;

use super::logged_path::logged_path;
use super::method::known_method;
use crate::client::Peer;
use crate::problem::Cause;

/// How requests are logged and traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestLog {
    /// Logged at INFO, at WARN or ERROR if the service failed; with spans.
    #[default]
    Normal,
    /// Logged at DEBUG; without spans, which would displace those of users. For probes.
    Quiet,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessLogLayer(pub RequestLog);

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog { request_log: self.0, inner }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct AccessLog<S> {
    request_log: RequestLog,
    inner: S,
}

impl<S> Service<Request> for AccessLog<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Logged<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Logged<S::Future> {
        let line = Line {
            started: Instant::now(),
            method: known_method(request.method()),
            uri: request.uri().clone(),
            peer: request.extensions().get().copied(),
        };
        Logged { inner: self.inner.call(request), line, request_log: self.request_log }
    }
}

pin_project_lite::pin_project! {
    pub(crate) struct Logged<F> {
        #[pin]
        inner: F,
        line: Line,
        request_log: RequestLog,
    }
}

impl<F> Future for Logged<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(context));
        this.line.log(&response, *this.request_log);
        Poll::Ready(Ok(response))
    }
}

struct Line {
    started: Instant,
    method: &'static str,
    uri: Uri,
    peer: Option<Peer>,
}

impl Line {
    fn log(&self, response: &Response, request_log: RequestLog) {
        let status = response.status();
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    method = self.method,
                    path = &*logged_path(self.uri.path()),
                    status = status.as_u16(),
                    code = response.extensions().get::<Code>().map(<&str>::from),
                    took_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
                    client = self.peer.map(|Peer(peer)| tracing::field::display(peer.ip())),
                    error = response.extensions().get().map(|Cause(cause)| &**cause),
                    "answered"
                )
            };
        }
        // An internal error is ERROR, the outage of a dependency is WARN.
        match (request_log, status) {
            (RequestLog::Quiet, _) => line!(Level::DEBUG),
            (RequestLog::Normal, StatusCode::INTERNAL_SERVER_ERROR) => line!(Level::ERROR),
            (RequestLog::Normal, _) if status.is_server_error() => line!(Level::WARN),
            (RequestLog::Normal, _) => line!(Level::INFO),
        }
    }
}
