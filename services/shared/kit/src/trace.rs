//! The trace that the running code belongs to.

use std::cell::Cell;

use opentelemetry::trace::{TraceContextExt as _, TraceId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

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
    let context = Span::current().context();
    let id = context.span().span_context().trace_id();
    (id != TraceId::INVALID).then_some(id)
}
