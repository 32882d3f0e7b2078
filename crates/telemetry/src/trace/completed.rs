//! Spans that are recorded after the fact, once their operation has completed.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::handle::{SpanHandle, sibling_context};
use super::{SERVICE, new_span_id};

/// Most spans have no more attributes.
const TYPICAL_ATTRIBUTES: usize = 12;

/// A span that has ended: plain data, as the SDK represents it, with the service it belongs to.
///
/// The builder methods record operations whose start, id or parent `tracing` cannot express:
/// a wait that another process began, or a step that is known only at its end. Such a span
/// costs a fraction of one of `tracing`'s.
#[derive(Clone, Debug)]
#[must_use = "a span has to be recorded"]
pub struct CompletedSpan {
    /// The service that the span belongs to; by default the program's.
    pub(crate) service: Option<Cow<'static, str>>,
    pub(crate) data: Box<SpanData>,
}

impl CompletedSpan {
    /// Creates a span below `parent`. An end before the start, which clocks of two machines
    /// can produce, becomes the start.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: &SpanHandle,
        start: SystemTime,
        end: SystemTime,
    ) -> Self {
        let parent_context = parent.context();
        let data = SpanData {
            span_context: sibling_context(parent_context, new_span_id()),
            parent_span_id: parent_context.span_id(),
            parent_span_is_remote: parent_context.is_remote(),
            span_kind: kind,
            name: name.into(),
            start_time: start,
            end_time: end.max(start),
            attributes: Vec::with_capacity(TYPICAL_ATTRIBUTES),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        };
        Self { service: parent.service().map(Cow::Borrowed), data: Box::new(data) }
    }

    /// Creates a span of kind `Internal`.
    pub fn internal(
        name: impl Into<Cow<'static, str>>,
        parent: &SpanHandle,
        start: SystemTime,
        end: SystemTime,
    ) -> Self {
        Self::new(name, SpanKind::Internal, parent, start, end)
    }

    pub fn with_kind(mut self, kind: SpanKind) -> Self {
        self.data.span_kind = kind;
        self
    }

    pub fn with_end(mut self, end: SystemTime) -> Self {
        self.data.end_time = end.max(self.data.start_time);
        self
    }

    /// Sets an id that other spans refer to already.
    pub fn with_id(mut self, id: SpanId) -> Self {
        self.data.span_context = sibling_context(&self.data.span_context, id);
        self
    }

    /// Sets the service, in processes that host several.
    pub fn with_service(mut self, service: &'static str) -> Self {
        self.service = Some(Cow::Borrowed(service));
        self
    }

    pub fn with_attribute(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.data.attributes.push(KeyValue::new(key, value));
        self
    }

    pub fn with_optional_attribute(
        self,
        key: &'static str,
        value: Option<impl Into<Value>>,
    ) -> Self {
        match value {
            Some(value) => self.with_attribute(key, value),
            None => self,
        }
    }

    /// Links the span `id` of the same trace.
    pub fn with_link(mut self, id: SpanId) -> Self {
        let context = sibling_context(&self.data.span_context, id);
        self.data.links.links.push(Link::new(context, Vec::new(), 0));
        self
    }

    /// Marks the span as failed and sets `error.type`.
    pub fn with_error(mut self, error: impl Into<Value>) -> Self {
        self.data.status = Status::error("");
        self.with_attribute("error.type", error)
    }

    /// Returns the service's name; empty if the span names none.
    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or_default()
    }

    pub fn trace_id(&self) -> TraceId {
        self.data.span_context.trace_id()
    }

    pub fn id(&self) -> SpanId {
        self.data.span_context.span_id()
    }

    /// Returns the parent's id, which is invalid for a root span.
    pub fn parent_id(&self) -> SpanId {
        self.data.parent_span_id
    }

    pub fn name(&self) -> &str {
        &self.data.name
    }

    pub fn kind(&self) -> &SpanKind {
        &self.data.span_kind
    }

    pub fn start(&self) -> SystemTime {
        self.data.start_time
    }

    pub fn end(&self) -> SystemTime {
        self.data.end_time
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.data.status, Status::Error { .. })
    }

    pub fn attributes(&self) -> &[KeyValue] {
        &self.data.attributes
    }

    /// Returns the value of an attribute as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        let found = self.data.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        found.map(|attribute| attribute.value.as_str().into_owned())
    }

    /// Returns the contexts of linked spans.
    pub fn links(&self) -> impl Iterator<Item = &SpanContext> {
        self.data.links.iter().map(|link| &link.span_context)
    }
}

impl From<SpanData> for CompletedSpan {
    /// Takes the service from the attribute `service.name`, which belongs to the resource.
    fn from(mut data: SpanData) -> Self {
        let named = data.attributes.extract_if(.., |said| said.key.as_str() == SERVICE).last();
        let service = named.map(|named| Cow::Owned(named.value.as_str().into_owned()));
        Self { service, data: Box::new(data) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::{TraceFlags, TraceState};

    use super::*;

    #[test]
    fn builder_sets_what_the_span_consists_of() {
        let flags = TraceFlags::SAMPLED;
        let context =
            SpanContext::new(TraceId::from(7), SpanId::from(8), flags, true, TraceState::NONE);
        let parent = SpanHandle::new(context, Some("worker"));
        let start = SystemTime::UNIX_EPOCH;
        let end = start + Duration::from_secs(1);
        let span = CompletedSpan::internal("wait", &parent, start, start)
            .with_kind(SpanKind::Client)
            .with_end(end)
            .with_id(SpanId::from(6))
            .with_attribute("queue", "tasks")
            .with_optional_attribute("attempt", Some(-3))
            .with_optional_attribute("absent", None::<&'static str>)
            .with_link(SpanId::from(5))
            .with_error("refused");
        assert_eq!(
            (span.service(), span.name(), span.kind()),
            ("worker", "wait", &SpanKind::Client)
        );
        assert_eq!((span.id(), span.parent_id()), (SpanId::from(6), SpanId::from(8)));
        assert_eq!((span.start(), span.end(), span.has_failed()), (start, end, true));
        assert_eq!(span.attribute("queue").as_deref(), Some("tasks"));
        assert_eq!(span.attribute("attempt").as_deref(), Some("-3"));
        assert_eq!(span.attribute("error.type").as_deref(), Some("refused"));
        assert_eq!(span.attributes().len(), 3);
        let links: Vec<_> = span.links().map(SpanContext::span_id).collect();
        assert_eq!(links, [SpanId::from(5)]);
    }

    #[test]
    fn end_never_precedes_the_start() {
        let parent = SpanHandle::new(SpanContext::empty_context(), None);
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let span = CompletedSpan::internal("wait", &parent, start, SystemTime::UNIX_EPOCH);
        assert_eq!(span.end(), start);
    }
}
