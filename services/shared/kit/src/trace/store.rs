//! The latest traces, kept in the process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanId, SpanKind, Status, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many traces are kept, and spans of one.
const TRACES: usize = 512;
const SPANS: usize = 256;

/// A span that is over.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// Its id.
    pub id: SpanId,
    /// Its parent's; invalid for the first of a trace.
    pub parent: SpanId,
    /// What it was.
    pub name: String,
    /// Its role: server, producer, consumer, ...
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Whether it failed.
    pub failed: bool,
    /// What was said about it.
    pub attributes: Vec<(String, String)>,
}

/// What is known about a trace so far.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Its ended spans in the order of their end.
    pub spans: Vec<EndedSpan>,
    /// Spans that were left out because there were too many.
    pub dropped: usize,
}

/// The ended spans of the latest traces. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SpanStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    traces: HashMap<TraceId, Entry>,
    oldest_first: VecDeque<TraceId>,
}

#[derive(Debug, Default)]
struct Entry {
    trace: Trace,
    open: usize,
}

impl SpanStore {
    /// What is known about a trace now.
    pub fn get(&self, id: TraceId) -> Option<Trace> {
        self.0.kept.lock().traces.get(&id).map(|entry| entry.trace.clone())
    }

    /// The trace as soon as none of its spans is open, or as it is after `patience`.
    pub async fn settled(&self, id: TraceId, patience: Duration) -> Option<Trace> {
        let settled = async {
            loop {
                let ended = self.0.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if self.0.kept.lock().traces.get(&id).is_none_or(|entry| entry.open == 0) {
                    return;
                }
                ended.await;
            }
        };
        let _ = tokio::time::timeout(patience, settled).await;
        self.get(id)
    }

    fn begin(&self, id: TraceId) {
        self.0.kept.lock().entry(id).open += 1;
    }

    fn end(&self, id: TraceId, span: SpanData) {
        let mut kept = self.0.kept.lock();
        let entry = kept.entry(id);
        entry.open = entry.open.saturating_sub(1);
        if entry.trace.spans.len() < SPANS {
            entry.trace.spans.push(EndedSpan::from(span));
        } else {
            entry.trace.dropped += 1;
        }
        if entry.open == 0 {
            drop(kept);
            self.0.ended.notify_waiters();
        }
    }
}

impl Kept {
    fn entry(&mut self, id: TraceId) -> &mut Entry {
        if !self.traces.contains_key(&id) {
            if self.oldest_first.len() == TRACES
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.traces.remove(&oldest);
            }
            self.oldest_first.push_back(id);
        }
        self.traces.entry(id).or_default()
    }
}

impl SpanProcessor for SpanStore {
    fn on_start(&self, span: &mut Span, _: &Context) {
        self.begin(span.span_context().trace_id());
    }

    fn on_end(&self, span: SpanData) {
        self.end(span.span_context.trace_id(), span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl From<SpanData> for EndedSpan {
    fn from(span: SpanData) -> Self {
        let attributes = span.attributes.into_iter();
        Self {
            id: span.span_context.span_id(),
            parent: span.parent_span_id,
            name: span.name.into_owned(),
            kind: span.span_kind,
            start: span.start_time,
            end: span.end_time,
            failed: matches!(span.status, Status::Error { .. }),
            attributes: attributes
                .map(|pair| (pair.key.to_string(), pair.value.to_string()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    fn provider() -> (SpanStore, SdkTracerProvider) {
        let store = SpanStore::default();
        let provider = SdkTracerProvider::builder().with_span_processor(store.clone()).build();
        (store, provider)
    }

    #[tokio::test]
    async fn a_trace_is_settled_when_its_last_span_ended() {
        let (store, provider) = provider();
        let mut span = provider.tracer("test").start("work");
        let id = span.span_context().trace_id();
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.settled(id, Duration::from_mins(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        span.end();
        let trace = waiting.await.expect("no panic").expect("kept");
        assert_eq!(trace.spans[0].name, "work");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let (store, provider) = provider();
        let span = provider.tracer("test").start("work");
        let id = span.span_context().trace_id();
        let trace = store.settled(id, Duration::from_secs(1)).await.expect("kept");
        assert!(trace.spans.is_empty());
    }

    #[test]
    fn traces_and_spans_are_bounded() {
        let (store, provider) = provider();
        let tracer = provider.tracer("test");
        let first = tracer.start("first").span_context().trace_id();
        assert!(store.get(first).is_some());
        for _ in 0..TRACES {
            tracer.start("more").end();
        }
        assert!(store.get(first).is_none());
        assert_eq!(store.0.kept.lock().traces.len(), TRACES);

        let root = tracer.start("root");
        let id = root.span_context().trace_id();
        let context = {
            use opentelemetry::trace::TraceContextExt as _;
            Context::new().with_span(root)
        };
        for _ in 0..SPANS + 3 {
            tracer.start_with_context("child", &context).end();
        }
        let trace = store.get(id).expect("kept");
        assert_eq!((trace.spans.len(), trace.dropped), (SPANS, 3));
    }
}
