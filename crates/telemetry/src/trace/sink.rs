//! Where spans go that are over.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::{CompletedSpan, EndedSpan, SpanStore};
use crate::otlp::{self, Exporter};

/// Takes the spans of this process; set when telemetry starts.
pub(crate) static SINK: OnceLock<Sink> = OnceLock::new();

/// Keeps spans in the process, sends them to a collector, or both.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    /// Whose spans they are that don't say so themselves.
    pub service: &'static str,
    pub store: Option<SpanStore>,
    pub exporter: Option<Exporter>,
}

impl Sink {
    /// Takes a span of OpenTelemetry's.
    fn take(&self, span: SpanData) {
        let service = service_of(&span).unwrap_or(Cow::Borrowed(self.service));
        if let Some(exporter) = &self.exporter {
            exporter.put(&service, &span);
        }
        if let Some(store) = &self.store {
            store.add(span.span_context.trace_id(), EndedSpan::new(service, span));
        }
    }

    /// Takes a span that is over.
    pub fn export_completed(&self, span: &CompletedSpan) {
        let service = span.service.unwrap_or(self.service);
        if let Some(exporter) = &self.exporter {
            exporter.enqueue_completed(service, span);
        }
        if let Some(store) = &self.store {
            store.add(span.parent.trace_id(), EndedSpan::of(service, span));
        }
    }

    /// Something of a trace has begun.
    pub fn begin(&self, trace: TraceId) {
        if let Some(store) = &self.store {
            store.begin(trace);
        }
    }

    /// What has begun is over.
    pub fn end(&self, trace: TraceId) {
        if let Some(store) = &self.store {
            store.end(trace);
        }
    }
}

/// The service that a span says it belongs to.
fn service_of(span: &SpanData) -> Option<Cow<'static, str>> {
    let said = span.attributes.iter().rev().find(|said| said.key.as_str() == otlp::SERVICE)?;
    Some(Cow::Owned(said.value.as_str().into_owned()))
}

impl SpanProcessor for Sink {
    fn on_start(&self, span: &mut Span, _: &Context) {
        self.begin(span.span_context().trace_id());
    }

    fn on_end(&self, span: SpanData) {
        let trace = span.span_context.trace_id();
        self.take(span);
        self.end(trace);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
