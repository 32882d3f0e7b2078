//! Work that belongs to a trace, whether or not that is recorded.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use miniapp_types::trace::TraceContext;
use opentelemetry::trace::{SpanId, TraceId};

use super::propagation;

thread_local! {
    /// What the work that this thread is on was caused by, set around each poll.
    static CAUSE: Cell<Option<Cause>> = const { Cell::new(None) };
}

/// Ids of a trace, and of the span that caused something in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

impl Cause {
    /// What a message or a row names.
    pub fn of(context: &TraceContext) -> Option<Self> {
        let (trace, span, _) = propagation::parse(context.traceparent.as_deref()?)?;
        Some(Self { trace, span })
    }

    /// What the running code was caused by, where [`within`] says so.
    pub(crate) fn current() -> Option<Self> {
        CAUSE.get()
    }
}

/// Does `work` in the trace of its cause: what it logs can be found by that, also where no
/// span is recorded.
pub fn within<F: Future>(cause: Option<Cause>, work: F) -> Within<F> {
    Within { work, cause }
}

pin_project_lite::pin_project! {
    /// See [`within`].
    #[derive(Debug)]
    pub struct Within<F> {
        #[pin]
        work: F,
        cause: Option<Cause>,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = Entered(CAUSE.replace(*this.cause));
        this.work.poll(context)
    }
}

/// Puts back what was before, also after a panic.
struct Entered(Option<Cause>);

impl Drop for Entered {
    fn drop(&mut self) {
        CAUSE.set(self.0);
    }
}
