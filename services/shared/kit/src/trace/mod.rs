//! The trace that the running code belongs to, and how it travels on.

mod propagation;
mod store;
mod tree;
mod within;

use std::cell::Cell;
use std::sync::OnceLock;

use contracts::trace::TraceContext;
use jiff::Timestamp;
use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, TraceId, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub(crate) use propagation::{context_of, from_headers, push_hexadecimal};
pub use propagation::{extract, inject};
pub use store::{EndedSpan, SpanStore, Trace};
pub use tree::Tree;
pub use within::{Cause, Within, within};

/// Makes the spans that don't come from `tracing`; set when telemetry starts.
pub(crate) static TRACER: OnceLock<SdkTracer> = OnceLock::new();

thread_local! {
    /// The trace of the request that this thread is working on, set around each poll:
    /// answers carry it even where no span is recorded.
    static REQUEST: Cell<TraceId> = const { Cell::new(TraceId::INVALID) };
}

/// The id of the trace that the running code belongs to.
pub fn current_trace_id() -> Option<TraceId> {
    let request = REQUEST.get();
    if request != TraceId::INVALID {
        return Some(request);
    }
    let id = Span::current().context().span().span_context().trace_id();
    (id != TraceId::INVALID).then_some(id)
}

/// The context of the current span, to be sent or stored with what it causes.
pub fn current_context() -> TraceContext {
    propagation::to_headers(&Span::current().context())
}

/// Makes `span` a child of what `parent` names. To be called before the span is entered.
pub fn set_parent(span: &Span, parent: &TraceContext) {
    if let Some(context) = propagation::from_headers(parent) {
        set_parent_context(span, context);
    }
}

/// Links `span` to what `other` names: an attempt before, for example.
pub fn add_link(span: &Span, other: &TraceContext) {
    if let Some(context) = propagation::from_headers(other) {
        span.add_link(context.span().span_context().clone());
    }
}

/// Whether what `context` names is being recorded.
pub fn is_sampled(context: &TraceContext) -> bool {
    propagation::is_sampled(context)
}

/// Notes a span that is over already, as a child of `parent`: a wait, for example. Costs
/// nothing where the trace isn't recorded.
pub fn record(
    name: &'static str,
    parent: &TraceContext,
    from: Timestamp,
    to: Timestamp,
    attributes: &[(&'static str, &str)],
) {
    if !is_sampled(parent) {
        return;
    }
    let (Some(tracer), Some(parent)) = (TRACER.get(), propagation::from_headers(parent)) else {
        return;
    };
    let attributes = attributes.iter().map(|(key, value)| KeyValue::new(*key, (*value).to_owned()));
    let builder = tracer
        .span_builder(name)
        .with_kind(SpanKind::Internal)
        .with_start_time(from)
        .with_attributes(attributes);
    builder.start_with_context(tracer, &parent).end_with_timestamp(to.max(from).into());
}

pub(crate) fn set_parent_context(span: &Span, parent: Context) {
    // It fails where no spans are recorded at all, and there is nothing to do then.
    let _ = span.set_parent(parent);
}

/// The work of one request: sets its trace for as long as it lives.
pub(crate) struct InRequest(TraceId);

impl InRequest {
    pub(crate) fn enter(id: TraceId) -> Self {
        Self(REQUEST.replace(id))
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        REQUEST.set(self.0);
    }
}
