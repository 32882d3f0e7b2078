//! The latest traces, kept in the process.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceId};
use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_sdk::trace::SpanData;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{CompletedSpan, sibling_context};

/// How many traces are kept, and spans of one.
const TRACES: usize = 512;
const SPANS: usize = 256;

/// A span that is over.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// Whose it was.
    pub service: Cow<'static, str>,
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
    pub attributes: Vec<KeyValue>,
    /// Other spans that it has to do with.
    pub links: Vec<SpanContext>,
}

impl EndedSpan {
    /// What was said about it under `key`, as a text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        let found = self.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        found.map(|attribute| attribute.value.as_str().into_owned())
    }
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
    pub async fn wait_until_complete(&self, id: TraceId, patience: Duration) -> Option<Trace> {
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

    /// A span has begun that will [end](Self::end).
    pub(super) fn begin(&self, id: TraceId) {
        self.0.kept.lock().entry(id).open += 1;
    }

    /// What has begun is over. What there is to say about it is said before.
    pub(super) fn end(&self, id: TraceId) {
        let mut kept = self.0.kept.lock();
        let entry = kept.entry(id);
        entry.open = entry.open.saturating_sub(1);
        if entry.open == 0 {
            drop(kept);
            self.0.ended.notify_waiters();
        }
    }

    /// Keeps a span.
    pub(super) fn add(&self, id: TraceId, span: EndedSpan) {
        let mut kept = self.0.kept.lock();
        let trace = &mut kept.entry(id).trace;
        if trace.spans.len() < SPANS {
            trace.spans.push(span);
        } else {
            trace.dropped += 1;
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

impl EndedSpan {
    pub(super) fn of(service: &'static str, span: &CompletedSpan) -> Self {
        let told = span.fields.read();
        let said = told.attributes.into_iter().map(|said| {
            let value = match said.value.and_then(|value| value.value) {
                Some(Told::StringValue(text)) => text.into(),
                Some(Told::IntValue(number)) => Value::I64(number),
                // A span that is over says nothing else.
                _ => Value::from(""),
            };
            KeyValue::new(said.key, value)
        });
        let links = told.links.iter().filter_map(|link| {
            let id = SpanId::from_bytes(link.span_id.as_slice().try_into().ok()?);
            Some(sibling_context(&span.parent, id))
        });
        Self {
            service: service.into(),
            id: span.id,
            parent: span.parent.span_id(),
            name: told.name,
            kind: span.kind.clone(),
            start: span.from,
            end: span.to,
            failed: span.has_failed,
            attributes: said.collect(),
            links: links.collect(),
        }
    }

    pub(super) fn new(service: Cow<'static, str>, span: SpanData) -> Self {
        Self {
            service,
            id: span.span_context.span_id(),
            parent: span.parent_span_id,
            name: span.name.into_owned(),
            kind: span.span_kind,
            start: span.start_time,
            end: span.end_time,
            failed: matches!(span.status, Status::Error { .. }),
            attributes: span.attributes,
            links: span.links.links.into_iter().map(|link| link.span_context).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::otlp::{Fields, Limits};
    use crate::trace::AttributeValue;
    use crate::trace::sink::Sink;

    fn provider() -> (SpanStore, SdkTracerProvider) {
        let store = SpanStore::default();
        let sink = Sink { service: "api", store: Some(store.clone()), exporter: None };
        let provider = SdkTracerProvider::builder().with_span_processor(sink).build();
        (store, provider)
    }

    #[tokio::test]
    async fn a_trace_is_settled_when_its_last_span_ended() {
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
        assert_eq!(trace.spans[0].name, "work");
    }

    #[test]
    fn a_span_that_is_over_is_kept_with_all_that_it_says() {
        let (_, provider) = provider();
        let parent = provider.tracer("test").start("cause").span_context().clone();
        let mut fields = Fields::new("wait", Limits::NONE);
        fields.say("queue", AttributeValue::Text("tasks"));
        fields.say("attempt", AttributeValue::Number(-3));
        fields.link(&sibling_context(&parent, SpanId::from(5)));
        let (from, id) = (SystemTime::UNIX_EPOCH, SpanId::from(6));
        let to = from + Duration::from_secs(1);
        let kind = SpanKind::Client;
        let past = CompletedSpan {
            service: None,
            parent: parent.clone(),
            id,
            kind,
            from,
            to,
            has_failed: true,
            fields,
        };
        let kept = EndedSpan::of("worker", &past);
        assert_eq!((kept.service.as_ref(), kept.name.as_str()), ("worker", "wait"));
        assert_eq!((kept.id, kept.parent), (id, parent.span_id()));
        assert_eq!((kept.start, kept.end, kept.failed), (from, to, true));
        assert_eq!(kept.attribute("queue").as_deref(), Some("tasks"));
        assert_eq!(kept.attribute("attempt").as_deref(), Some("-3"));
        assert_eq!(kept.links, [sibling_context(&parent, SpanId::from(5))]);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let (store, provider) = provider();
        let span = provider.tracer("test").start("work");
        let id = span.span_context().trace_id();
        let trace = store.wait_until_complete(id, Duration::from_secs(1)).await.expect("kept");
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
        let context = opentelemetry::Context::new().with_span(root);
        for _ in 0..SPANS + 3 {
            tracer.start_with_context("child", &context).end();
        }
        let trace = store.get(id).expect("kept");
        assert_eq!((trace.spans.len(), trace.dropped), (SPANS, 3));
    }
}
