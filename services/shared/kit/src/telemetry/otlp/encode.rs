//! Spans as OTLP has them on the wire.
//!
//! A task has a dozen spans, and what each costs is on its path. So a span is written once,
//! to the bytes that are sent, and not by way of the messages that protobuf's generators
//! make, which take an allocation for every field.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto>: trace.proto, common.proto

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

/// The attribute that says to which part of the process a span belongs. It is told as the
/// name of the service.
pub(crate) const SERVICE: &str = "service.name";

/// What is too much for a span to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Characters of a value.
    pub length: usize,
}

/// How many attributes, events or links a span has at most.
const MOST: usize = 128;

/// Appends the fields of a span.
pub(super) fn span(into: &mut Vec<u8>, span: &SpanData, limits: Limits) {
    let mut to = Writer { bytes: into, limits };
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
    for link in span.links.iter().take(MOST) {
        let context = &link.span_context;
        to.nested(13, |to| {
            to.bytes(1, &context.trace_id().to_bytes());
            to.bytes(2, &context.span_id().to_bytes());
            to.trace_state(3, context.trace_state());
            to.attributes(4, 5, link.attributes.iter(), link.dropped_attributes_count);
            to.fixed32(6, flags(context, context.is_remote()));
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

/// The fields of a resource or of a scope's attributes: nothing but attributes.
pub(super) fn resource(attributes: &[KeyValue]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut to = Writer { bytes: &mut bytes, limits: Limits { length: usize::MAX } };
    for attribute in attributes {
        to.attribute(1, attribute);
    }
    bytes
}

/// Appends the spans of one resource to a request; `spans` are fields of their scope, each
/// as [`field`] makes it.
pub(super) fn resource_spans(request: &mut Vec<u8>, resource: &[u8], scope: &str, spans: &[u8]) {
    let mut to = Writer { bytes: request, limits: Limits { length: usize::MAX } };
    to.nested(1, |to| {
        to.bytes(1, resource);
        to.nested(2, |to| {
            to.nested(1, |to| to.text(1, scope));
            to.bytes.extend_from_slice(spans);
        });
    });
}

/// Appends a span, whose fields are `span`, as a field of its scope.
pub(super) fn field(into: &mut Vec<u8>, span: &[u8]) {
    Writer { bytes: into, limits: Limits { length: usize::MAX } }.bytes(2, span);
}

/// Protobuf's wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// Appends fields to a message. Those that have their default value are left out.
struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    limits: Limits,
}

impl Writer<'_> {
    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint((field << 3 | wire_type).into());
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.bytes.push(low_byte(value));
    }

    fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, FIXED64);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.tag(field, FIXED32);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.tag(field, DELIMITED);
            self.varint(value.len() as u64);
            self.bytes.extend_from_slice(value);
        }
    }

    fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, cut(value, self.limits.length).as_bytes());
    }

    fn trace_state(&mut self, field: u32, state: &TraceState) {
        if *state != TraceState::NONE {
            self.bytes(field, state.header().as_bytes());
        }
    }

    /// A message within this one. Its length stands before it and is known after it: most
    /// are short enough for the one byte that is kept for it.
    fn nested(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.tag(field, DELIMITED);
        let at = self.bytes.len();
        self.bytes.push(0);
        write(&mut Writer { bytes: self.bytes, limits: self.limits });
        let length = self.bytes.len() - at - 1;
        if length < 0x80 {
            self.bytes[at] = low_byte(length as u64);
            return;
        }
        let end = self.bytes.len();
        self.varint(length as u64);
        let written = self.bytes.len() - end;
        self.bytes[at + 1..].rotate_right(written);
        self.bytes.remove(at);
    }

    fn attributes<'k>(
        &mut self,
        field: u32,
        dropped: u32,
        attributes: impl Iterator<Item = &'k KeyValue>,
        dropped_before: u32,
    ) {
        let mut count = 0;
        for attribute in attributes {
            count += 1;
            if count <= MOST {
                self.attribute(field, attribute);
            }
        }
        self.dropped(dropped, count, dropped_before);
    }

    fn dropped(&mut self, field: u32, count: usize, before: u32) {
        self.number(field, count.saturating_sub(MOST) as u64 + u64::from(before));
    }

    fn attribute(&mut self, field: u32, KeyValue { key, value, .. }: &KeyValue) {
        self.nested(field, |to| {
            to.text(1, key.as_str());
            to.nested(2, |to| to.value(value));
        });
    }

    /// The one field of a value. It says what kind of value that is, so it is there even if
    /// it has its default.
    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.value_text(text.as_str()),
            Value::Bool(flag) => self.value_number(2, (*flag).into()),
            Value::I64(number) => self.value_number(3, number.cast_unsigned()),
            Value::F64(number) => {
                self.tag(4, FIXED64);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            Value::Array(array) => self.nested(5, |to| to.array(array)),
            other => self.value_text(&other.as_str()),
        }
    }

    fn array(&mut self, array: &Array) {
        match array {
            Array::Bool(items) => self.items(items, |to, item| to.value_number(2, (*item).into())),
            Array::I64(items) => {
                self.items(items, |to, item| to.value_number(3, item.cast_unsigned()));
            }
            Array::F64(items) => self.items(items, |to, item| to.value(&Value::F64(*item))),
            Array::String(items) => self.items(items, |to, item| to.value_text(item.as_str())),
            _ => {}
        }
    }

    fn items<T>(&mut self, items: &[T], write: impl Fn(&mut Writer<'_>, &T)) {
        for item in items.iter().take(MOST) {
            self.nested(1, |to| write(to, item));
        }
    }

    fn value_text(&mut self, text: &str) {
        let text = cut(text, self.limits.length);
        self.tag(1, DELIMITED);
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn value_number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }
}

/// The first `length` characters.
fn cut(text: &str, length: usize) -> &str {
    if text.len() <= length {
        return text;
    }
    text.char_indices().nth(length).map_or(text, |(end, _)| &text[..end])
}

#[expect(clippy::cast_possible_truncation, reason = "the last byte is what is asked for")]
fn low_byte(value: u64) -> u8 {
    value as u8
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

    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{Event, Link, TraceFlags, TraceId};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use prost::Message as _;

    use super::*;

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
        span(&mut bytes, data, Limits { length });
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
            span(&mut fields, &whole(), Limits { length: 2000 });
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
