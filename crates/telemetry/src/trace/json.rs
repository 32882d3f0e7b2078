//! Traces as OTLP/JSON, which is also Jaeger's format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{self as proto_common, InstrumentationScope as Scope};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as ProtoKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, SpanFlags, TracesData,
};
use opentelemetry_proto::transform::common::tonic::Attributes;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{CompletedSpan, SERVICE, Trace};

const SCOPE: &str = "miniapp";

impl Trace {
    /// Returns the trace as an OTLP/JSON document.
    pub fn to_json(&self) -> serde_json::Value {
        let mut by_service: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        for span in &self.spans {
            by_service.entry(span.service()).or_default().push((*span.data).clone().into());
        }
        let resource_spans = by_service.into_iter().map(|(service, spans)| {
            let name = KeyValue::new(SERVICE, service.to_owned());
            let scope = Scope { name: SCOPE.to_owned(), ..Scope::default() };
            ResourceSpans {
                resource: Some(Resource {
                    attributes: Attributes::from(vec![name]).0,
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }
        });
        let data = TracesData { resource_spans: resource_spans.collect() };
        // These messages have no maps with keys that JSON could not express.
        serde_json::to_value(data).unwrap_or_default()
    }

    /// Reads an OTLP/JSON document. An unreadable document is an empty trace; spans without
    /// ids are skipped.
    pub fn from_json(document: &serde_json::Value) -> Self {
        let data: TracesData = serde::Deserialize::deserialize(document).unwrap_or_default();
        let mut spans = Vec::new();
        for of_resource in data.resource_spans {
            let attributes = of_resource.resource.map(|resource| resource.attributes);
            let mut service = attributes.into_iter().flatten().filter_map(attribute_from_proto);
            let service = service.rfind(|named| named.key.as_str() == SERVICE);
            let service = service.map(|named| named.value.as_str().into_owned());
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let Some(data) = span_from_proto(span) else { continue };
                let service = service.clone().map(Cow::Owned);
                spans.push(CompletedSpan { service, data: Box::new(data) });
            }
        }
        spans.sort_by_key(CompletedSpan::end);
        Self { spans, dropped: 0 }
    }
}

fn span_from_proto(span: Span) -> Option<SpanData> {
    let kind = match span.kind() {
        ProtoKind::Server => SpanKind::Server,
        ProtoKind::Client => SpanKind::Client,
        ProtoKind::Producer => SpanKind::Producer,
        ProtoKind::Consumer => SpanKind::Consumer,
        ProtoKind::Internal | ProtoKind::Unspecified => SpanKind::Internal,
    };
    let status = match span.status {
        Some(status) if status.code() == StatusCode::Error => Status::error(status.message),
        Some(status) if status.code() == StatusCode::Ok => Status::Ok,
        _ => Status::Unset,
    };
    let mut links = SpanLinks::default();
    links.links = (span.links.iter())
        .filter_map(|link| {
            let is_remote = is_remote(link.flags);
            let context = context(&link.trace_id, &link.span_id, &link.trace_state, is_remote)?;
            Some(Link::new(context, Vec::new(), 0))
        })
        .collect();
    Some(SpanData {
        span_context: context(&span.trace_id, &span.span_id, &span.trace_state, false)?,
        parent_span_id: span_id(&span.parent_span_id).unwrap_or(SpanId::INVALID),
        parent_span_is_remote: is_remote(span.flags),
        span_kind: kind,
        name: span.name.into(),
        start_time: time(span.start_time_unix_nano)?,
        end_time: time(span.end_time_unix_nano)?,
        attributes: span.attributes.into_iter().filter_map(attribute_from_proto).collect(),
        dropped_attributes_count: span.dropped_attributes_count,
        events: SpanEvents::default(),
        links,
        status,
        instrumentation_scope: InstrumentationScope::default(),
    })
}

fn is_remote(flags: u32) -> bool {
    flags & SpanFlags::ContextIsRemoteMask as u32 != 0
}

fn context(trace_id: &[u8], id: &[u8], state: &str, is_remote: bool) -> Option<SpanContext> {
    let trace_id = TraceId::from_bytes(trace_id.try_into().ok()?);
    let state = TraceState::from_str(state).unwrap_or_default();
    Some(SpanContext::new(trace_id, span_id(id)?, TraceFlags::SAMPLED, is_remote, state))
}

fn span_id(id: &[u8]) -> Option<SpanId> {
    Some(SpanId::from_bytes(id.try_into().ok()?))
}

fn time(nanoseconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds))
}

/// Reads an attribute. Lists and maps, which spans of this platform don't have, become text.
fn attribute_from_proto(attribute: proto_common::KeyValue) -> Option<KeyValue> {
    let value = match attribute.value?.value? {
        ProtoValue::BoolValue(flag) => Value::Bool(flag),
        ProtoValue::IntValue(number) => Value::I64(number),
        ProtoValue::DoubleValue(number) => Value::F64(number),
        ProtoValue::StringValue(text) => text.into(),
        other => format!("{other:?}").into(),
    };
    Some(KeyValue::new(attribute.key, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trace::SpanHandle;

    fn span(id: u64, service: &'static str, kind: SpanKind) -> CompletedSpan {
        let context = context(&[7; 16], &(id - 1).to_be_bytes(), "", true).expect("a context");
        let parent = SpanHandle::new(context, Some(service));
        let start = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        let end = start + Duration::from_nanos(id);
        CompletedSpan::new(format!("span {id}"), kind, &parent, start, end)
            .with_id(SpanId::from(id))
            .with_attribute("text", "a")
            .with_attribute("number", i64::MAX)
            .with_attribute("flag", true)
            .with_attribute("half", 0.5)
            .with_link(SpanId::from(9))
    }

    #[test]
    fn trace_survives_json() {
        let written = vec![
            span(1, "api", SpanKind::Server),
            span(2, "worker", SpanKind::Consumer).with_error("failed"),
            span(3, "api", SpanKind::Producer),
            span(4, "auth", SpanKind::Client),
            span(5, "worker", SpanKind::Internal),
        ];
        let written = Trace { spans: written, dropped: 0 };
        let document = written.to_json();
        let read = Trace::from_json(&document);
        assert_eq!(read.to_json(), document);
        assert_eq!(read.spans.len(), 5);
        for (read, written) in read.spans.iter().zip(&written.spans) {
            assert_eq!((read.id(), read.parent_id()), (written.id(), written.parent_id()));
            assert_eq!((read.trace_id(), read.name()), (written.trace_id(), written.name()));
            assert_eq!((read.start(), read.end()), (written.start(), written.end()));
            assert_eq!(read.has_failed(), written.has_failed());
            assert_eq!((read.service(), read.kind()), (written.service(), written.kind()));
            assert_eq!(read.attributes(), written.attributes());
            let ids = |span: &CompletedSpan| -> Vec<SpanId> {
                span.links().map(SpanContext::span_id).collect()
            };
            assert_eq!(ids(read), ids(written));
        }
    }

    #[test]
    fn numbers_may_be_written_as_text_or_not() {
        let span = json!({
            "traceId": "07070707070707070707070707070707",
            "spanId": "0000000000000001",
            "name": "GET",
            "kind": 2,
            "startTimeUnixNano": "1000",
            "endTimeUnixNano": "2000",
            "attributes": [
                {"key": "text", "value": {"intValue": "7"}},
                {"key": "number", "value": {"intValue": 7}},
            ],
            "status": {},
        });
        let trace =
            Trace::from_json(&json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}));
        let read = trace.spans.first().expect("a span");
        assert_eq!((read.service(), read.kind()), ("", &SpanKind::Server));
        assert_eq!(read.parent_id(), SpanId::INVALID);
        assert_eq!(read.attribute("text"), read.attribute("number"));
        assert_eq!(read.attribute("text").as_deref(), Some("7"));
    }

    #[test]
    fn unreadable_documents_are_empty() {
        for document in [json!(null), json!({"resourceSpans": 7}), json!({"resourceSpans": [7]})] {
            assert!(Trace::from_json(&document).spans.is_empty());
        }
        let span = json!({"spanId": "zz", "name": 7});
        let document = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]});
        assert!(Trace::from_json(&document).spans.is_empty());
    }
}
