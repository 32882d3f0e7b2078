//! Correlates work with a trace, whether or not the trace is recorded.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use miniapp_types::trace::TraceContext;
use opentelemetry::trace::{SpanId, TraceId};

use super::propagation;

thread_local! {
    /// Set around each poll.
    static CURRENT: Cell<Option<CorrelationIds>> = const { Cell::new(None) };
}

/// The ids of a trace and of the span that caused an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorrelationIds {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

impl CorrelationIds {
    /// Reads the ids of the context in a message or row.
    pub fn from_context(context: &TraceContext) -> Option<Self> {
        let (trace, span, _) = propagation::parse(context.traceparent.as_deref()?)?;
        Some(Self { trace, span })
    }

    /// Returns the ids that the running code was correlated with by [`in_trace`].
    pub(crate) fn current() -> Option<Self> {
        CURRENT.get()
    }
}

/// Correlates `work` with a trace: its log lines have the ids of `cause`, even if no span is
/// recorded.
pub fn in_trace<F: Future>(cause: Option<CorrelationIds>, work: F) -> Correlated<F> {
    Correlated { work, cause }
}

pin_project_lite::pin_project! {
    /// The future that [`in_trace`] returns.
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
        let _restore = Restore(CURRENT.replace(*this.cause));
        this.work.poll(context)
    }
}

/// Restores the previous ids when dropped, even after a panic.
struct Restore(Option<CorrelationIds>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
