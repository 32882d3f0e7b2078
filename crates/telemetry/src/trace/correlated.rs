//! Work that belongs to a trace, whether or not that is recorded.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use miniapp_types::trace::TraceContext;
use opentelemetry::trace::{SpanId, TraceId};

use super::propagation;

thread_local! {
    /// What the work that this thread is on was caused by, set around each poll.
    static CAUSE: Cell<Option<CorrelationIds>> = const { Cell::new(None) };
}

/// Ids of a trace, and of the span that caused something in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorrelationIds {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

impl CorrelationIds {
    /// What a message or a row names.
    pub fn from_context(context: &TraceContext) -> Option<Self> {
        let (trace, span, _) = propagation::parse(context.traceparent.as_deref()?)?;
        Some(Self { trace, span })
    }

    /// What the running code was caused by, where [`in_trace`] says so.
    pub(crate) fn current() -> Option<Self> {
        CAUSE.get()
    }
}

/// Does `work` in the trace of its cause: what it logs can be found by that, also where no
/// span is recorded.
pub fn in_trace<F: Future>(cause: Option<CorrelationIds>, work: F) -> Correlated<F> {
    Correlated { work, cause }
}

pin_project_lite::pin_project! {
    /// See [`in_trace`].
    #[derive(Debug)]
    pub struct Correlated<F> {
        #[pin]
        work: F,
        cause: Option<CorrelationIds>,
    }
}

impl<F: Future> Future for Correlated<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = Entered(CAUSE.replace(*this.cause));
        this.work.poll(context)
    }
}

/// Puts back what was before, also after a panic.
struct Entered(Option<CorrelationIds>);

impl Drop for Entered {
    fn drop(&mut self) {
        CAUSE.set(self.0);
    }
}
