//! Traces from any backend, and checks that hold for all of them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// How far a span may exceed its parent: some backends report microseconds, others nanoseconds.
const ROUNDED: u64 = 1_000;

/// The parts of a span that tests check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `service.name`.
    pub service: String,
    /// The id of the trace, in hexadecimal digits.
    pub trace: String,
    pub id: String,
    /// The id of the parent, or empty.
    pub parent: String,
    pub name: String,
    pub kind: SpanKind,
    /// The start, in nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    /// The attributes, with values as text.
    pub attributes: BTreeMap<String, String>,
    /// The attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// The ids of linked spans.
    pub links: Vec<String>,
}

impl Span {
    /// The attribute `key`, or an empty string.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// The spans of a trace in the order of their start.
#[derive(Clone, Debug)]
pub struct Trace {
    pub id: String,
    pub spans: Vec<Span>,
}

impl Trace {
    /// Selects the spans that belong to the trace.
    pub fn of(id: &str, spans: impl IntoIterator<Item = Span>) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().filter(|span| span.trace == id).collect();
        spans.sort_by_key(|span| (span.start, u64::MAX - span.end));
        Self { id: id.to_owned(), spans }
    }

    /// All spans with this name.
    pub fn named<'t>(&'t self, name: &str) -> impl Iterator<Item = &'t Span> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    /// The number of spans with this name.
    pub fn count(&self, name: &str) -> usize {
        self.named(name).count()
    }

    /// The only span with this name.
    #[track_caller]
    pub fn only<'t>(&'t self, name: &str) -> &'t Span {
        let mut named = self.named(name);
        match (named.next(), named.next()) {
            (Some(only), None) => only,
            _ => panic!("not one {name:?} in {self}"),
        }
    }

    /// The parent of a span.
    pub fn parent(&self, span: &Span) -> Option<&Span> {
        self.spans.iter().find(|other| other.id == span.parent)
    }

    /// The children of a span, in the order of their start.
    pub fn children(&self, span: &Span) -> impl Iterator<Item = &Span> {
        let mut below: Vec<&Span> =
            self.spans.iter().filter(|other| other.parent == span.id).collect();
        below.sort_by_key(|span| (span.start, span.end));
        below.into_iter()
    }

    /// Whether there is one root, and every other span has its parent.
    pub fn is_tree(&self) -> bool {
        let ids: HashSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        let mut parents = self.spans.iter().map(|span| span.parent.as_str());
        parents.clone().any(str::is_empty)
            && parents.all(|parent| parent.is_empty() || ids.contains(parent))
    }

    /// Panics unless the spans form one tree with unique ids, links lead to existing spans that are
    /// not parents, and no span starts before its cause or ends before its start.
    #[track_caller]
    pub fn expect_valid(&self) {
        let ids: HashSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        assert_eq!(ids.len(), self.spans.len(), "an id is there twice: {self}");
        let roots = self.spans.iter().filter(|span| span.parent.is_empty()).count();
        assert_eq!(roots, 1, "not one root: {self}");
        for span in &self.spans {
            assert!(span.end >= span.start, "{span:?} ends before it begins: {self}");
            for link in &span.links {
                assert!(ids.contains(link.as_str()), "{span:?} is linked to nothing: {self}");
                assert_ne!(*link, span.parent, "linked to its parent: {span:?}");
            }
            if span.parent.is_empty() {
                continue;
            }
            let parent = self.parent(span);
            let parent = parent.unwrap_or_else(|| panic!("{span:?} is an orphan: {self}"));
            assert!(
                span.start + ROUNDED >= parent.start,
                "{} begins before what caused it: {self}",
                span.name
            );
        }
    }

    /// Whether two times are equal within the precision of backends.
    pub fn is_same(one: u64, other: u64) -> bool {
        one.abs_diff(other) <= 2 * ROUNDED
    }

    /// Panics unless each of these spans ends before the next one starts.
    #[track_caller]
    pub fn expect_in_order(&self, spans: &[&Span]) {
        for pair in spans.windows(2) {
            let [before, after] = pair else { continue };
            assert!(
                before.end <= after.start + ROUNDED,
                "{} ends after {} has begun: {self}",
                before.name,
                after.name
            );
        }
    }

    /// The share of an interval that spans cover. Spans with children do not count, because the root
    /// would cover everything; requests do, because their own work has no other span.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no last digits")]
    pub fn explained(&self, from: u64, to: u64) -> f64 {
        let parents: HashSet<&str> = self.spans.iter().map(|span| span.parent.as_str()).collect();
        let leaves = self
            .spans
            .iter()
            .filter(|span| span.kind == SpanKind::Server || !parents.contains(span.id.as_str()));
        let mut times: Vec<(u64, u64)> =
            leaves.map(|span| (span.start.clamp(from, to), span.end.clamp(from, to))).collect();
        times.sort_unstable();
        let (mut explained, mut until) = (0, from);
        for (start, end) in times {
            explained += end.saturating_sub(start.max(until));
            until = until.max(end);
        }
        explained as f64 / (to - from).max(1) as f64
    }
}

impl fmt::Display for Trace {
    /// A tree with times in microseconds since the start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = self.spans.iter().map(|span| span.start).min().unwrap_or_default();
        writeln!(f, "trace {}", self.id)?;
        let is_top = |span: &&Span| self.parent(span).is_none();
        for top in self.spans.iter().filter(is_top) {
            self.write(f, top, begin, 0)?;
        }
        Ok(())
    }
}

impl Trace {
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        span: &Span,
        begin: u64,
        depth: usize,
    ) -> fmt::Result {
        let (start, end) = ((span.start - begin) / 1000, (span.end - begin) / 1000);
        let mut label = " ".repeat(2 * depth);
        write!(label, "{} {:?} {}", span.service, span.kind, span.name)?;
        writeln!(f, "{label:70} {start:>9} .. {end:>9}  {} {:?}", span.id, span.links)?;
        for child in self.children(span).filter(|child| child.id != span.id) {
            self.write(f, child, begin, depth + 1)?;
        }
        Ok(())
    }
}

/// The spans of an OTLP request.
pub fn from_otlp(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in &request.resource_spans {
        let resource = of_resource.resource.as_ref();
        let resource = attributes(resource.map_or(&[], |resource| &resource.attributes));
        for span in of_resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans.push(Span {
                service: resource.get("service.name").cloned().unwrap_or_default(),
                trace: hexadecimal(&span.trace_id),
                id: hexadecimal(&span.span_id),
                parent: hexadecimal(&span.parent_span_id),
                name: span.name.clone(),
                kind: span.kind(),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                failed: span.status.as_ref().is_some_and(|status| status.code == 2),
                attributes: attributes(&span.attributes),
                resource: resource.clone(),
                links: span.links.iter().map(|link| hexadecimal(&link.span_id)).collect(),
            });
        }
    }
    spans
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(items)) => {
            let items: Vec<String> = items.values.iter().map(|item| text(Some(item))).collect();
            items.join(",")
        }
        other => format!("{other:?}"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, start: u64, end: u64) -> Span {
        Span {
            service: "api".to_owned(),
            trace: "t".to_owned(),
            id: id.to_owned(),
            parent: parent.to_owned(),
            name: id.to_owned(),
            kind: SpanKind::Internal,
            start,
            end,
            failed: false,
            attributes: BTreeMap::new(),
            resource: BTreeMap::new(),
            links: Vec::new(),
        }
    }

    #[test]
    fn only_leaves_explain_and_none_twice() {
        let spans = [
            span("whole", "", 0, 100),
            span("a", "whole", 10, 30),
            span("b", "whole", 20, 40),
            span("c", "whole", 35, 36),
            span("d", "whole", 90, 200),
        ];
        let trace = Trace::of("t", spans);
        assert!((trace.explained(0, 100) - 0.4).abs() < 1e-9);
        assert!((trace.explained(20, 40) - 1.0).abs() < 1e-9);
    }

    #[test]
    #[should_panic(expected = "is an orphan")]
    fn orphans_are_found() {
        Trace::of("t", [span("a", "", 0, 1), span("b", "gone", 0, 1)]).expect_valid();
    }

    #[test]
    #[should_panic(expected = "begins before what caused it")]
    fn effects_before_causes_are_found() {
        let spans = [span("a", "", 5_000, 9_000), span("b", "a", 3_000, 9_000)];
        Trace::of("t", spans).expect_valid();
    }
}
