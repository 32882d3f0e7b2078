//! The trace of the request that a thread works on.

use std::cell::Cell;

use opentelemetry::trace::TraceId;

thread_local! {
    /// Set around each poll of a request: responses carry the trace's id even if no span is
    /// recorded.
    static REQUEST: Cell<Request> = const { Cell::new(Request::NONE) };
}

#[derive(Clone, Copy, Debug)]
struct Request {
    trace: TraceId,
    is_recorded: bool,
    service: Option<&'static str>,
}

impl Request {
    const NONE: Self = Self { trace: TraceId::INVALID, is_recorded: false, service: None };
}

/// Returns the trace of the current request.
pub(super) fn trace_id() -> Option<TraceId> {
    let id = REQUEST.get().trace;
    (id != TraceId::INVALID).then_some(id)
}

/// Returns whether there is a request whose trace is known not to be recorded. Cheaper than
/// looking at spans.
pub(super) fn is_unrecorded() -> bool {
    trace_id().is_some() && !REQUEST.get().is_recorded
}

/// Returns the service that handles the current request.
pub(super) fn service() -> Option<&'static str> {
    REQUEST.get().service
}

/// Guard: the current thread works on a request.
#[derive(Debug)]
pub struct RequestScope(Request);

impl RequestScope {
    /// Sets the request of the current thread until the guard is dropped.
    pub fn enter(trace: TraceId, is_recorded: bool, service: Option<&'static str>) -> Self {
        Self(REQUEST.replace(Request { trace, is_recorded, service }))
    }
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        REQUEST.set(self.0);
    }
}
