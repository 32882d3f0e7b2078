//! Spans as OTLP has them on the wire.
//!
//! A task has a dozen spans, and what each costs is on its path. So a span is written once,
//! to the bytes that are sent, and not by way of the messages that protobuf's generators
//! make, which take an allocation for every field.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto>: trace.proto, common.proto

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use uuid::fmt::Hyphenated;

use super::wire::{Limits, MOST, Writer};
use crate::trace::{AttributeValue, CompletedSpan};

/// The attribute that says to which part of the process a span belongs. It is told as the
/// name of the service.
pub const SERVICE: &str = "service.name";

/// Appends the fields of a span.
pub(super) fn span(to: &mut Writer<'_>, span: &SpanData) {
    let context = &span.span_context;
    to.bytes(1, &context.trace_id().to_bytes());
    to.bytes(2, &context.span_id().to_bytes());
    to.trace_state(3, context.trace_state());
    if span.parent_span_id != SpanId::INVALID {
        to.bytes(4, &span.parent_span_id.to_bytes());
    }
    to.text(5, &span.name);
    to.number(6, kind(&span.span_kind));
    to.fixed64(7, nanoseconds(span.start_time));
    to.fixed64(8, nanoseconds(span.end_time));
    let said = span.attributes.iter().filter(|attribute| attribute.key.as_str() != SERVICE);
    to.attributes(9, 10, said, span.dropped_attributes_count);
    for event in span.events.iter().take(MOST) {
        to.nested(11, |to| {
            to.fixed64(1, nanoseconds(event.timestamp));
            to.text(2, &event.name);
            to.attributes(3, 4, event.attributes.iter(), event.dropped_attributes_count);
        });
    }
    to.dropped(12, span.events.len(), span.events.dropped_count);
    for Link { span_context: context, attributes, dropped_attributes_count, .. } in
        span.links.iter().take(MOST)
    {
        to.nested(13, |to| {
            linked(to, context);
            to.attributes(4, 5, attributes.iter(), *dropped_attributes_count);
        });
    }
    to.dropped(14, span.links.len(), span.links.dropped_count);
    match &span.status {
        Status::Unset => {}
        Status::Ok => to.nested(15, |to| to.number(3, 1)),
        Status::Error { description } => to.nested(15, |to| {
            to.text(2, description);
            to.number(3, 2);
        }),
    }
    to.fixed32(16, flags(context, span.parent_span_is_remote));
}

fn linked(to: &mut Writer<'_>, context: &SpanContext) {
    to.bytes(1, &context.trace_id().to_bytes());
    to.bytes(2, &context.span_id().to_bytes());
    to.trace_state(3, context.trace_state());
    to.fixed32(6, flags(context, context.is_remote()));
}

/// What a span that is over says of itself: its name, its attributes and its links.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    bytes: Vec<u8>,
    limits: Limits,
}

impl Fields {
    /// What most spans have to say takes no more.
    const CAPACITY: usize = 480;

    pub fn new(name: &str, limits: Limits) -> Self {
        let mut bytes = Vec::with_capacity(Self::CAPACITY);
        Writer::new(&mut bytes, limits).text(5, name);
        Self { bytes, limits }
    }

    pub fn say(&mut self, key: &str, said: AttributeValue<'_>) {
        let mut to = Writer::new(&mut self.bytes, self.limits);
        match said {
            AttributeValue::Text(text) => to.said(9, key, |to| to.value_text(text)),
            AttributeValue::Number(number) => {
                to.said(9, key, |to| to.value_number(3, number.cast_unsigned()));
            }
            AttributeValue::Id(id) => {
                let mut text = [0; Hyphenated::LENGTH];
                let text = id.hyphenated().encode_lower(&mut text);
                to.said(9, key, |to| to.value_text(text));
            }
        }
    }

    pub fn link(&mut self, context: &SpanContext) {
        Writer::new(&mut self.bytes, self.limits).nested(13, |to| linked(to, context));
    }

    /// What has been said, for those who show it in this process.
    pub fn read(&self) -> Span {
        Span::decode(&*self.bytes).unwrap_or_default()
    }
}

/// Appends the fields of a span that is over.
pub(super) fn past(to: &mut Writer<'_>, past: &CompletedSpan) {
    let CompletedSpan { parent, fields, .. } = past;
    to.bytes(1, &parent.trace_id().to_bytes());
    to.bytes(2, &past.id.to_bytes());
    to.trace_state(3, parent.trace_state());
    to.bytes(4, &parent.span_id().to_bytes());
    to.number(6, kind(&past.kind));
    to.fixed64(7, nanoseconds(past.from));
    to.fixed64(8, nanoseconds(past.to));
    to.append(&fields.bytes);
    if past.has_failed {
        to.nested(15, |to| to.number(3, 2));
    }
    to.fixed32(16, flags(parent, parent.is_remote()));
}

/// The fields of a resource or of a scope's attributes: nothing but attributes.
pub(super) fn resource(attributes: &[KeyValue]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut to = Writer::new(&mut bytes, Limits::NONE);
    for attribute in attributes {
        to.attribute(1, attribute);
    }
    bytes
}

/// Appends the spans of one resource to a request; `spans` are fields of their scope, each
/// as [`field`] makes it.
pub(super) fn resource_spans(request: &mut Vec<u8>, resource: &[u8], scope: &str, spans: &[u8]) {
    let mut to = Writer::new(request, Limits::NONE);
    to.nested(1, |to| {
        to.bytes(1, resource);
        to.nested(2, |to| {
            to.nested(1, |to| to.text(1, scope));
            to.append(spans);
        });
    });
}

/// Appends a span, whose fields are `span`, as a field of its scope.
pub(super) fn field(into: &mut Vec<u8>, span: &[u8]) {
    Writer::new(into, Limits::NONE).bytes(2, span);
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// The W3C flags, and whether it is known that the parent or the linked span is elsewhere.
fn flags(context: &SpanContext, is_remote: bool) -> u32 {
    const IS_REMOTE_KNOWN: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    let remote = if is_remote { IS_REMOTE } else { 0 };
    u32::from(context.trace_flags().to_u8()) | IS_REMOTE_KNOWN | remote
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;
    use std::time::Duration;

    use opentelemetry::trace::{Event, TraceFlags, TraceId, TraceState};
    use opentelemetry::{Array, InstrumentationScope, Value};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use uuid::Uuid;

    use super::*;
    use crate::trace::sibling_context;

    fn whole() -> SpanData {
        let state = TraceState::from_str("a=1,b=2").expect("a state");
        let context = SpanContext::new(
            TraceId::from(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            SpanId::from(0x1112_1314_1516_1718),
            TraceFlags::SAMPLED,
            false,
            state,
        );
        let attributes = vec![
            KeyValue::new("text", "a \"b\" ü"),
            KeyValue::new("long", "x".repeat(1000)),
            KeyValue::new("empty", ""),
            KeyValue::new("no", false),
            KeyValue::new("yes", true),
            KeyValue::new("zero", 0),
            KeyValue::new("negative", -7),
            KeyValue::new("half", 0.5),
            KeyValue::new("texts", Value::Array(Array::String(vec!["a".into(), "".into()]))),
            KeyValue::new("numbers", Value::Array(vec![1_i64, -1].into())),
        ];
        let mut events = SpanEvents::default();
        let at = UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789);
        events.events = vec![
            Event::new("first", at, vec![KeyValue::new("key", "value")], 3),
            Event::new("second", at, Vec::new(), 0),
        ];
        events.dropped_count = 5;
        let mut links = SpanLinks::default();
        links.links = vec![Link::new(context.clone(), vec![KeyValue::new("key", 1)], 2)];
        SpanData {
            span_context: context,
            parent_span_id: SpanId::from(7),
            parent_span_is_remote: true,
            span_kind: SpanKind::Consumer,
            name: "process tasks:run".into(),
            start_time: at,
            end_time: at + Duration::from_millis(7),
            attributes,
            dropped_attributes_count: 4,
            events,
            links,
            status: Status::error("no luck"),
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    fn encoded(data: &SpanData, length: usize) -> Span {
        let mut bytes = Vec::new();
        span(&mut Writer::new(&mut bytes, Limits { length }), data);
        Span::decode(&*bytes).expect("a span")
    }

    #[test]
    fn a_span_is_what_opentelemetrys_own_messages_make_of_it() {
        let root = SpanData {
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            attributes: Vec::new(),
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            ..whole()
        };
        for data in [whole(), SpanData { status: Status::Ok, ..whole() }, root] {
            let mut expected = Span::from(data.clone());
            // Nothing is said by what has its default.
            expected.status = expected.status.filter(|status| status.code != 0);
            assert_eq!(encoded(&data, 2000), expected);
        }
    }

    #[test]
    fn a_span_that_is_over_is_told_like_any_other() {
        let task = Uuid::from_u128(7);
        let mut data = whole();
        let parent = data.span_context.clone();
        let id = SpanId::from(0x2122_2324_2526_2728);
        data.span_context = sibling_context(&parent, id);
        data.parent_span_id = parent.span_id();
        data.parent_span_is_remote = false;
        data.attributes = vec![
            KeyValue::new("task.id", task.to_string()),
            KeyValue::new("attempt", -3),
            KeyValue::new("long", "ü".repeat(9)),
            KeyValue::new("empty", ""),
        ];
        data.dropped_attributes_count = 0;
        data.events = SpanEvents::default();
        data.links = SpanLinks::default();
        data.links.links =
            vec![Link::new(sibling_context(&parent, SpanId::from(5)), Vec::new(), 0)];
        data.status = Status::error("");

        let mut fields = Fields::new("process t", Limits { length: 9 });
        fields.say("task.id", AttributeValue::Id(task));
        fields.say("attempt", AttributeValue::Number(-3));
        fields.say("long", AttributeValue::Text(&"ü".repeat(50)));
        fields.say("empty", AttributeValue::Text(""));
        fields.link(&sibling_context(&parent, SpanId::from(5)));
        data.attributes[0] = KeyValue::new("task.id", task.to_string()[..9].to_owned());
        data.name = "process t".into();
        let over = CompletedSpan {
            service: None,
            parent,
            id,
            kind: data.span_kind.clone(),
            from: data.start_time,
            to: data.end_time,
            has_failed: true,
            fields,
        };
        let mut bytes = Vec::new();
        past(&mut Writer::new(&mut bytes, Limits::NONE), &over);
        assert_eq!(Span::decode(&*bytes).expect("a span"), Span::from(data));
    }

    #[test]
    fn too_long_and_too_many_is_cut() {
        let attributes: Vec<KeyValue> =
            (0..200).map(|n| KeyValue::new(format!("key{n}"), "ü".repeat(50))).collect();
        let mut data = SpanData { attributes, dropped_attributes_count: 1, ..whole() };
        data.events.events = vec![data.events.events[0].clone(); 130];
        data.links.links = vec![data.links.links[0].clone(); 129];
        let told = encoded(&data, 9);
        assert_eq!((told.attributes.len(), told.dropped_attributes_count), (128, 73));
        assert_eq!((told.events.len(), told.dropped_events_count), (128, 7));
        assert_eq!((told.links.len(), told.dropped_links_count), (128, 1));
        let value = told.attributes[0].value.as_ref().and_then(|value| value.value.as_ref());
        assert_eq!(value, Some(&Told::StringValue("ü".repeat(9))));
        assert_eq!(told.name, "process t");
    }

    #[test]
    fn a_request_holds_the_spans_of_each_resource() {
        let mut spans = Vec::new();
        for _ in 0..3 {
            let mut fields = Vec::new();
            span(&mut Writer::new(&mut fields, Limits { length: 2000 }), &whole());
            field(&mut spans, &fields);
        }
        let mut request = Vec::new();
        for name in ["api", "worker"] {
            let resource = resource(&[KeyValue::new("service.name", name)]);
            resource_spans(&mut request, &resource, "miniapp", &spans);
        }
        let request = ExportTraceServiceRequest::decode(&*request).expect("a request");
        assert_eq!(request.resource_spans.len(), 2);
        for (of, name) in request.resource_spans.iter().zip(["api", "worker"]) {
            let resource = of.resource.as_ref().expect("a resource");
            let told = resource.attributes[0].value.as_ref().and_then(|value| value.value.clone());
            assert_eq!(told, Some(Told::StringValue(name.to_owned())));
            let scope = &of.scope_spans[0];
            assert_eq!(scope.scope.as_ref().map(|scope| scope.name.as_str()), Some("miniapp"));
            assert_eq!(scope.spans, vec![Span::from(whole()); 3]);
        }
    }
}
