//! Passes completed spans to the local store and the exporter.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::CompletedSpan;
use super::handle::{self, SpanHandle};

static RECORDER: OnceLock<SpanRecorder> = OnceLock::new();

/// Makes `recorder` the one of this process, when telemetry starts and something is sampled.
pub(crate) fn install(recorder: SpanRecorder) {
    if RECORDER.set(recorder).is_ok() {
        handle::set_recording();
    }
}

impl CompletedSpan {
    /// Passes the span to the local store and the exporter.
    pub fn record(self) {
        if let Some(recorder) = RECORDER.get() {
            recorder.record(self);
        }
    }
}

impl SpanHandle {
    /// Keeps the trace incomplete in the local store until the guard is dropped.
    pub fn pending_span(&self) -> PendingSpan {
        let trace = self.trace_id();
        if let Some(recorder) = RECORDER.get() {
            recorder.begin(trace);
        }
        PendingSpan(trace)
    }
}

/// Guard: an operation is in progress, and its span will follow.
#[derive(Debug)]
pub struct PendingSpan(TraceId);

impl Drop for PendingSpan {
    fn drop(&mut self) {
        if let Some(recorder) = RECORDER.get() {
            recorder.end(self.0);
        }
    }
}

/// Receives completed spans. Called on the path of requests, so it must not block.
pub(crate) trait SpanSink: Debug + Send + Sync {
    fn accept(&self, span: CompletedSpan);

    /// A span of `trace` has begun that [`Self::end`] ends, after it was accepted.
    fn begin(&self, _trace: TraceId) {}

    fn end(&self, _trace: TraceId) {}
}

/// Passes the spans of the SDK, and those that are recorded after the fact, to the sinks.
#[derive(Clone, Debug)]
pub(crate) struct SpanRecorder {
    /// The service of spans that name none.
    service: &'static str,
    sinks: Arc<[Box<dyn SpanSink>]>,
}

impl SpanRecorder {
    pub fn new(service: &'static str, sinks: Vec<Box<dyn SpanSink>>) -> Self {
        Self { service, sinks: sinks.into() }
    }

    pub fn record(&self, mut span: CompletedSpan) {
        span.service.get_or_insert(Cow::Borrowed(self.service));
        let Some((last, others)) = self.sinks.split_last() else { return };
        for sink in others {
            sink.accept(span.clone());
        }
        last.accept(span);
    }

    pub fn begin(&self, trace: TraceId) {
        self.sinks.iter().for_each(|sink| sink.begin(trace));
    }

    pub fn end(&self, trace: TraceId) {
        self.sinks.iter().for_each(|sink| sink.end(trace));
    }
}

impl SpanProcessor for SpanRecorder {
    fn on_start(&self, span: &mut Span, _: &Context) {
        self.begin(span.span_context().trace_id());
    }

    fn on_end(&self, span: SpanData) {
        let trace = span.span_context.trace_id();
        self.record(span.into());
        self.end(trace);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
