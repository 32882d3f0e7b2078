//! Traces: the current trace, spans recorded after the fact, and how a trace travels.

mod clock;
mod completed;
mod correlated;
mod handle;
mod ids;
mod json;
mod propagation;
mod request;
mod sink;
mod store;

use std::fmt::Display;

use miniapp_types::trace::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, TraceId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use clock::{SpanClock, now};
pub use completed::CompletedSpan;
pub use correlated::{Correlated, CorrelationIds, in_trace};
pub use handle::SpanHandle;
pub use ids::{derived_span_id, new_span_id};
pub use opentelemetry::trace::{SpanId, SpanKind};
pub use propagation::{BAGGAGE, extract, extract_from, fields, inject};
pub use propagation::{baggage_item, child_context, context_from_headers, push_hex};
pub(crate) use propagation::{set_propagators, span_context};
pub use request::RequestScope;
pub use sink::PendingSpan;
pub(crate) use sink::{SpanRecorder, SpanSink, install};
pub use store::{SpanStore, Trace};

/// The attribute with the service that a span belongs to. It is exported as a part of the
/// resource.
pub const SERVICE: &str = "service.name";

/// Returns the id of the current trace.
pub fn current_trace_id() -> Option<TraceId> {
    request::trace_id().or_else(|| {
        let id = Span::current().context().span().span_context().trace_id();
        (id != TraceId::INVALID).then_some(id)
    })
}

/// Returns the context of the current span, to be sent or stored with what it causes.
pub fn current_context() -> TraceContext {
    propagation::to_headers(&Span::current().context())
}

/// Makes `span` a child of the span in `parent`. Must be called before `span` is entered.
pub fn set_parent(span: &Span, parent: &TraceContext) {
    if let Some(context) = propagation::from_headers(parent) {
        set_parent_context(span, context);
    }
}

/// Makes `span` a child of the remote span in `parent`.
pub fn set_parent_context(span: &Span, parent: Context) {
    // Fails only if no spans are recorded at all.
    let _ = span.set_parent(parent);
}

/// Links `span` to the span in `other`, such as a previous attempt.
pub fn add_link(span: &Span, other: &TraceContext) {
    if let Some(context) = propagation::from_headers(other) {
        span.add_link(context.span().span_context().clone());
    }
}

/// Returns whether the trace of `context` is recorded.
pub fn is_sampled(context: &TraceContext) -> bool {
    propagation::is_sampled(context)
}

/// Sets an attribute of the current span, if it is recorded, and links it to the span in
/// `context`, if that belongs to another trace.
pub fn link_current_span(key: &'static str, value: impl Display, context: &TraceContext) {
    let Some(current) = SpanHandle::current() else { return };
    let span = Span::current();
    span.set_attribute(key, value.to_string());
    let other = propagation::span_context(context);
    if let Some(other) = other.filter(|other| other.trace_id() != current.trace_id()) {
        span.add_link(other);
    }
}
