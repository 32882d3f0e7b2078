//! Traces as OTLP writes them in JSON, which is how Jaeger answers, too.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry::{KeyValue, Value as Said};
use serde_json::{Value, json};

use super::store::{EndedSpan, Trace};

/// What OTLP calls a status of failure.
const FAILED: u64 = 2;

impl Trace {
    /// The trace `id` as a JSON document.
    pub fn to_json(&self, id: TraceId) -> Value {
        let mut by_service: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for span in &self.spans {
            by_service.entry(&span.service).or_default().push(span_to_json(id, span));
        }
        let resource_spans = by_service.into_iter().map(|(service, spans)| {
            let name = KeyValue::new("service.name", service.to_owned());
            json!({
                "resource": { "attributes": [attribute_to_json(&name)] },
                "scopeSpans": [{ "scope": { "name": "miniapp" }, "spans": spans }],
            })
        });
        json!({ "resourceSpans": resource_spans.collect::<Vec<_>>() })
    }

    /// What a JSON document tells of a trace; what isn't readable is left out.
    pub fn from_json(document: &Value) -> Self {
        let mut spans = Vec::new();
        for of_resource in items(&document["resourceSpans"]) {
            let said = attributes(&of_resource["resource"]["attributes"]);
            let service = said.iter().find(|said| said.key.as_str() == "service.name");
            let service = service.map(|said| said.value.as_str().into_owned()).unwrap_or_default();
            for scope in items(&of_resource["scopeSpans"]) {
                let read = items(&scope["spans"]).filter_map(|span| span_from_json(&service, span));
                spans.extend(read);
            }
        }
        spans.sort_by_key(|span| span.end);
        Self { spans, dropped: 0 }
    }
}

fn span_to_json(trace: TraceId, span: &EndedSpan) -> Value {
    let links = span.links.iter().map(|link| {
        json!({ "traceId": link.trace_id().to_string(), "spanId": link.span_id().to_string() })
    });
    let is_root = span.parent == SpanId::INVALID;
    json!({
        "traceId": trace.to_string(),
        "spanId": span.id.to_string(),
        "parentSpanId": if is_root { String::new() } else { span.parent.to_string() },
        "name": span.name,
        "kind": kind_to_number(&span.kind),
        "startTimeUnixNano": nanoseconds(span.start),
        "endTimeUnixNano": nanoseconds(span.end),
        "attributes": span.attributes.iter().map(attribute_to_json).collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "status": if span.failed { json!({ "code": FAILED }) } else { json!({}) },
    })
}

fn span_from_json(service: &str, span: &Value) -> Option<EndedSpan> {
    let id = |value: &Value| SpanId::from_hex(value.as_str()?).ok();
    let links = items(&span["links"]).filter_map(|link| {
        let trace = TraceId::from_hex(link["traceId"].as_str()?).ok()?;
        let flags = TraceFlags::default();
        Some(SpanContext::new(trace, id(&link["spanId"])?, flags, true, TraceState::NONE))
    });
    Some(EndedSpan {
        service: service.to_owned().into(),
        id: id(&span["spanId"])?,
        parent: id(&span["parentSpanId"]).unwrap_or(SpanId::INVALID),
        name: span["name"].as_str()?.to_owned(),
        kind: kind_from_number(span["kind"].as_u64().unwrap_or_default()),
        start: time(&span["startTimeUnixNano"])?,
        end: time(&span["endTimeUnixNano"])?,
        failed: span["status"]["code"].as_u64() == Some(FAILED),
        attributes: attributes(&span["attributes"]),
        links: links.collect(),
    })
}

fn attribute_to_json(KeyValue { key, value, .. }: &KeyValue) -> Value {
    let value = match value {
        Said::Bool(flag) => json!({ "boolValue": flag }),
        Said::I64(number) => json!({ "intValue": number.to_string() }),
        Said::F64(number) => json!({ "doubleValue": number }),
        other => json!({ "stringValue": other.as_str() }),
    };
    json!({ "key": key.as_str(), "value": value })
}

fn attributes(attributes: &Value) -> Vec<KeyValue> {
    let read = |said: &Value| {
        let (kind, value) = said["value"].as_object()?.iter().next()?;
        let value = match (kind.as_str(), value) {
            ("boolValue", value) => Said::Bool(value.as_bool()?),
            ("intValue", Value::String(number)) => Said::I64(number.parse().ok()?),
            ("intValue", value) => Said::I64(value.as_i64()?),
            ("doubleValue", value) => Said::F64(value.as_f64()?),
            ("stringValue", value) => value.as_str()?.to_owned().into(),
            (_, value) => value.to_string().into(),
        };
        Some(KeyValue::new(said["key"].as_str()?.to_owned(), value))
    };
    items(attributes).filter_map(read).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whole numbers of 64 bits are texts.
fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn time(nanoseconds: &Value) -> Option<SystemTime> {
    let since = Duration::from_nanos(nanoseconds.as_str()?.parse().ok()?);
    UNIX_EPOCH.checked_add(since)
}

fn kind_to_number(kind: &SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn kind_from_number(number: u64) -> SpanKind {
    match number {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_comes_back_as_it_was_written() {
        let trace = TraceId::from(7);
        let link =
            SpanContext::new(trace, SpanId::from(9), TraceFlags::default(), true, TraceState::NONE);
        let span = |id: u64, service: &'static str, kind| EndedSpan {
            service: service.into(),
            id: id.into(),
            parent: (id - 1).into(),
            name: format!("span {id}"),
            kind,
            start: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
            end: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789 + id),
            failed: id == 2,
            attributes: vec![
                KeyValue::new("text", "a"),
                KeyValue::new("number", i64::MAX),
                KeyValue::new("flag", true),
                KeyValue::new("half", 0.5),
            ],
            links: vec![link.clone()],
        };
        let spans = vec![
            span(1, "api", SpanKind::Server),
            span(2, "worker", SpanKind::Consumer),
            span(3, "api", SpanKind::Producer),
            span(4, "auth", SpanKind::Client),
            span(5, "worker", SpanKind::Internal),
        ];
        let written = Trace { spans, dropped: 0 };
        let document = written.to_json(trace);
        let read = Trace::from_json(&document);
        assert_eq!(read.to_json(trace), document);
        for (read, written) in read.spans.iter().zip(&written.spans) {
            assert_eq!(
                (read.id, read.parent, &read.name),
                (written.id, written.parent, &written.name)
            );
            assert_eq!(
                (read.start, read.end, read.failed),
                (written.start, written.end, written.failed)
            );
            assert_eq!((&read.service, &read.kind), (&written.service, &written.kind));
            assert_eq!((&read.attributes, &read.links), (&written.attributes, &written.links));
        }
        assert_eq!(read.spans.len(), 5);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        for document in [json!(null), json!({"resourceSpans": 7}), json!({"resourceSpans": [7]})] {
            assert!(Trace::from_json(&document).spans.is_empty());
        }
        let span = json!({"spanId": "zz", "name": 7});
        let document = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]});
        assert!(Trace::from_json(&document).spans.is_empty());
    }
}
