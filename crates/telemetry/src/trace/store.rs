//! The latest traces, kept in the process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{CompletedSpan, SpanSink};

const MAX_TRACES: usize = 512;
const MAX_SPANS_PER_TRACE: usize = 256;

/// The completed spans of a trace, in the order of their ends.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub spans: Vec<CompletedSpan>,
    /// Spans that were dropped because there were too many.
    pub dropped: usize,
}

/// The completed spans of the latest traces. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SpanStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    completed: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    traces: HashMap<TraceId, Entry>,
    oldest_first: VecDeque<TraceId>,
}

#[derive(Debug, Default)]
struct Entry {
    trace: Trace,
    pending: usize,
}

impl SpanStore {
    /// Returns the spans of a trace so far.
    pub fn get(&self, id: TraceId) -> Option<Trace> {
        self.0.kept.lock().traces.get(&id).map(|entry| entry.trace.clone())
    }

    /// Waits until the trace has no pending span, for `timeout` at most, and returns it.
    pub async fn wait_until_complete(&self, id: TraceId, timeout: Duration) -> Option<Trace> {
        let complete = async {
            loop {
                let completed = self.0.completed.notified();
                tokio::pin!(completed);
                completed.as_mut().enable();
                if self.0.kept.lock().traces.get(&id).is_none_or(|entry| entry.pending == 0) {
                    return;
                }
                completed.await;
            }
        };
        let _ = tokio::time::timeout(timeout, complete).await;
        self.get(id)
    }
}

impl SpanSink for SpanStore {
    fn accept(&self, span: CompletedSpan) {
        let mut kept = self.0.kept.lock();
        let trace = &mut kept.entry(span.trace_id()).trace;
        if trace.spans.len() < MAX_SPANS_PER_TRACE {
            trace.spans.push(span);
        } else {
            trace.dropped += 1;
        }
    }

    fn begin(&self, id: TraceId) {
        self.0.kept.lock().entry(id).pending += 1;
    }

    fn end(&self, id: TraceId) {
        let mut kept = self.0.kept.lock();
        let entry = kept.entry(id);
        entry.pending = entry.pending.saturating_sub(1);
        if entry.pending == 0 {
            drop(kept);
            self.0.completed.notify_waiters();
        }
    }
}

impl Kept {
    fn entry(&mut self, id: TraceId) -> &mut Entry {
        if !self.traces.contains_key(&id) {
            if self.oldest_first.len() == MAX_TRACES
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.traces.remove(&oldest);
            }
            self.oldest_first.push_back(id);
        }
        self.traces.entry(id).or_default()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::trace::SpanRecorder;

    fn provider() -> (SpanStore, SdkTracerProvider) {
        let store = SpanStore::default();
        let recorder = SpanRecorder::new("api", vec![Box::new(store.clone())]);
        let provider = SdkTracerProvider::builder().with_span_processor(recorder).build();
        (store, provider)
    }

    #[tokio::test]
    async fn trace_is_complete_when_its_last_span_has_ended() {
        let (store, provider) = provider();
        let mut span = provider.tracer("test").start("work");
        let id = span.span_context().trace_id();
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.wait_until_complete(id, Duration::from_mins(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        span.end();
        let trace = waiting.await.expect("no panic").expect("kept");
        assert_eq!(trace.spans[0].name(), "work");
    }

    #[tokio::test(start_paused = true)]
    async fn wait_until_complete_times_out() {
        let (store, provider) = provider();
        let span = provider.tracer("test").start("work");
        let id = span.span_context().trace_id();
        let trace = store.wait_until_complete(id, Duration::from_secs(1)).await.expect("kept");
        assert!(trace.spans.is_empty());
    }

    #[test]
    fn store_bounds_traces_and_spans() {
        let (store, provider) = provider();
        let tracer = provider.tracer("test");
        let first = tracer.start("first").span_context().trace_id();
        assert!(store.get(first).is_some());
        for _ in 0..MAX_TRACES {
            tracer.start("more").end();
        }
        assert!(store.get(first).is_none());
        assert_eq!(store.0.kept.lock().traces.len(), MAX_TRACES);

        let root = tracer.start("root");
        let id = root.span_context().trace_id();
        let context = opentelemetry::Context::new().with_span(root);
        for _ in 0..MAX_SPANS_PER_TRACE + 3 {
            tracer.start_with_context("child", &context).end();
        }
        let trace = store.get(id).expect("kept");
        assert_eq!((trace.spans.len(), trace.dropped), (MAX_SPANS_PER_TRACE, 3));
    }
}
