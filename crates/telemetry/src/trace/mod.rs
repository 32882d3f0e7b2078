//! The trace that the running code belongs to, and how it travels on.

mod completed;
mod correlated;
mod json;
mod propagation;
mod sink;
mod store;
mod tree;

use std::cell::Cell;
use std::fmt::Display;

use miniapp_types::trace::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, TraceId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub(crate) use completed::sibling_context;
pub use completed::{
    AttributeValue, CompletedSpan, PendingSpan, SpanClock, SpanHandle, child_context,
    derived_span_id, new_span_id, now,
};
pub use correlated::{Correlated, CorrelationIds, in_trace};
pub use opentelemetry::trace::{SpanId, SpanKind};
pub(crate) use propagation::span_context;
pub use propagation::{BAGGAGE, extract, extract_from, inject};
pub use propagation::{baggage_item, context_from_headers, push_hex};
pub(crate) use sink::{SINK, Sink};
pub use store::{EndedSpan, SpanStore, Trace};
pub use tree::Tree;

thread_local! {
    /// The trace of the request that this thread is working on, set around each poll:
    /// answers carry it even where no span is recorded.
    static REQUEST: Cell<Request> = const { Cell::new(Request::NONE) };
}

/// The id of the trace that the running code belongs to.
pub fn current_trace_id() -> Option<TraceId> {
    let request = REQUEST.get();
    if request.trace != TraceId::INVALID {
        return Some(request.trace);
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

/// Says of the current span, if it is recorded, that it is about `value`, as `key` names it,
/// and has to do with what `context` names, where that is in another trace.
pub fn link_current_span(key: &'static str, value: impl Display, context: &TraceContext) {
    let Some(parent) = SpanHandle::current() else { return };
    let span = Span::current();
    span.set_attribute(key, value.to_string());
    let other = propagation::span_context(context);
    if let Some(other) = other.filter(|other| other.trace_id() != parent.trace_id()) {
        span.add_link(other);
    }
}

/// Makes `span` a child of the remote span in `parent`.
pub fn set_parent_context(span: &Span, parent: Context) {
    // It fails where no spans are recorded at all, and there is nothing to do then.
    let _ = span.set_parent(parent);
}

/// The trace of a request.
#[derive(Clone, Copy, Debug)]
struct Request {
    trace: TraceId,
    is_recorded: bool,
    service: Option<&'static str>,
}

impl Request {
    const NONE: Self = Self { trace: TraceId::INVALID, is_recorded: false, service: None };
}

/// Whether the running code works on a request whose trace isn't recorded, which is known
/// without looking for spans.
fn is_unrecorded() -> bool {
    let request = REQUEST.get();
    request.trace != TraceId::INVALID && !request.is_recorded
}

/// Whose request the running code works on.
fn request_service() -> Option<&'static str> {
    REQUEST.get().service
}

/// The work of one request: sets its trace for as long as it lives.
#[derive(Debug)]
pub struct RequestScope(Request);

impl RequestScope {
    /// Sets the trace of the current thread until the guard is dropped.
    pub fn enter(trace: TraceId, is_recorded: bool, service: Option<&'static str>) -> Self {
        Self(REQUEST.replace(Request { trace, is_recorded, service }))
    }
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        REQUEST.set(self.0);
    }
}
