//! References to recorded spans, as parents of others.

use std::sync::atomic::{AtomicBool, Ordering};

use miniapp_types::trace::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{propagation, request};

/// Whether this process records spans at all.
static IS_RECORDING: AtomicBool = AtomicBool::new(false);

pub(super) fn set_recording() {
    IS_RECORDING.store(true, Ordering::Relaxed);
}

fn is_recording() -> bool {
    IS_RECORDING.load(Ordering::Relaxed)
}

/// A recorded span, as the parent of others.
#[derive(Clone, Debug)]
pub struct SpanHandle {
    context: SpanContext,
    /// The service, if the spans below belong to the same.
    service: Option<&'static str>,
}

impl SpanHandle {
    #[cfg(test)]
    pub(crate) fn new(context: SpanContext, service: Option<&'static str>) -> Self {
        Self { context, service }
    }

    /// Returns the span in `context`, or `None` if its trace is not recorded. That check is
    /// cheap.
    pub fn from_context(context: &TraceContext) -> Option<Self> {
        if !propagation::is_sampled(context) || !is_recording() {
            return None;
        }
        Some(Self { context: propagation::span_context(context)?, service: None })
    }

    /// Returns the span of the running code, or `None` if it is not recorded.
    pub fn current() -> Option<Self> {
        if request::is_unrecorded() {
            return None;
        }
        let span = Span::current();
        if span.is_none() || !is_recording() {
            return None;
        }
        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_sampled().then(|| Self { context, service: request::service() })
    }

    pub(super) fn context(&self) -> &SpanContext {
        &self.context
    }

    pub(super) fn service(&self) -> Option<&'static str> {
        self.service
    }

    pub fn trace_id(&self) -> TraceId {
        self.context.trace_id()
    }

    /// Returns the span `id` of the same trace and process.
    #[must_use]
    pub fn sibling(&self, id: SpanId) -> Self {
        Self { context: sibling_context(&self.context, id), service: self.service }
    }

    /// Makes `span` its child. Must be called before `span` is entered.
    pub fn set_as_parent_of(&self, span: &Span) {
        let parent = Context::new().with_remote_span_context(self.context.clone());
        super::set_parent_context(span, parent);
    }
}

/// Returns the context of another span of the same trace, in this process.
pub(crate) fn sibling_context(context: &SpanContext, id: SpanId) -> SpanContext {
    let (trace, flags) = (context.trace_id(), context.trace_flags());
    SpanContext::new(trace, id, flags, false, context.trace_state().clone())
}
