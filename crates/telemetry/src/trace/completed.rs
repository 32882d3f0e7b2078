//! Spans that are told of when they are over.
//!
//! On the way of a task most is a wait that someone else begins, or a step that is known
//! only at its end. None of these needs a span of `tracing`'s, which costs several times as
//! much and can't be given an id, an earlier beginning or a parent that isn't there yet.

use std::time::SystemTime;

use jiff::Timestamp;
use miniapp_types::trace::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use super::propagation;
use super::sink::SINK;
use crate::otlp::{Exporter, Fields, Limits};
use miniapp_runtime::clock::Clock;

/// A span that is recorded, as the parent of others.
#[derive(Clone, Debug)]
pub struct SpanHandle {
    context: SpanContext,
    /// Whose it is, where that is known to be the same for what is below it.
    service: Option<&'static str>,
}

impl SpanHandle {
    /// The span that `context` names; `None` if its trace isn't recorded, which costs
    /// nothing to find out.
    pub fn from_context(context: &TraceContext) -> Option<Self> {
        if !propagation::is_sampled(context) || SINK.get().is_none() {
            return None;
        }
        Some(Self { context: propagation::span_context(context)?, service: None })
    }

    /// The span that the running code belongs to; `None` if that isn't recorded.
    pub fn current() -> Option<Self> {
        if super::is_unrecorded() {
            return None;
        }
        let span = Span::current();
        if span.is_none() || SINK.get().is_none() {
            return None;
        }
        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_sampled().then(|| Self { context, service: super::request_service() })
    }

    /// The trace.
    pub fn trace_id(&self) -> TraceId {
        self.context.trace_id()
    }

    /// Another span of the same trace and in this process, as the parent of others.
    #[must_use]
    pub fn sibling(&self, id: SpanId) -> Self {
        Self { context: sibling_context(&self.context, id), service: self.service }
    }

    /// Makes `span` its child. To be called before that is entered.
    pub fn set_as_parent_of(&self, span: &Span) {
        let parent = Context::new().with_remote_span_context(self.context.clone());
        super::set_parent_context(span, parent);
    }

    /// Says that there is more to come of this trace, until what this returns is dropped.
    pub fn pending_span(&self) -> PendingSpan {
        let trace = self.trace_id();
        if let Some(sink) = SINK.get() {
            sink.begin(trace);
        }
        PendingSpan(trace)
    }
}

/// Something is under way that a span will tell of.
#[derive(Debug)]
pub struct PendingSpan(TraceId);

impl Drop for PendingSpan {
    fn drop(&mut self) {
        if let Some(sink) = SINK.get() {
            sink.end(self.0);
        }
    }
}

/// A span that is over. What it says is written once, to the bytes that are sent.
#[derive(Clone, Debug)]
#[must_use = "it is to be recorded"]
pub struct CompletedSpan {
    pub(crate) service: Option<&'static str>,
    pub(crate) parent: SpanContext,
    pub(crate) id: SpanId,
    pub(crate) kind: SpanKind,
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
    pub(crate) has_failed: bool,
    /// Its name, its attributes and its links.
    pub(crate) fields: Fields,
}

/// Something that a span says.
#[derive(Clone, Copy, Debug)]
pub enum AttributeValue<'s> {
    /// A text.
    Text(&'s str),
    /// A number.
    Number(i64),
    /// An id, which is told as a text.
    Id(Uuid),
}

impl<'s> From<&'s str> for AttributeValue<'s> {
    fn from(text: &'s str) -> Self {
        Self::Text(text)
    }
}

impl<'s> From<&'s String> for AttributeValue<'s> {
    fn from(text: &'s String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for AttributeValue<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for AttributeValue<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<Uuid> for AttributeValue<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl CompletedSpan {
    /// A span below `parent`. What ended before it began, by clocks that aren't the same,
    /// took no time.
    pub fn new(
        name: &str,
        kind: SpanKind,
        parent: &SpanHandle,
        from: SystemTime,
        to: SystemTime,
    ) -> Self {
        let exporter = SINK.get().and_then(|sink| sink.exporter.as_ref());
        let limits = exporter.map_or(Limits::NONE, Exporter::limits);
        Self {
            service: parent.service,
            parent: parent.context.clone(),
            id: new_span_id(),
            kind,
            from,
            to: to.max(from),
            has_failed: false,
            fields: Fields::new(name, limits),
        }
    }

    /// A span within a process.
    pub fn internal(name: &str, parent: &SpanHandle, from: SystemTime, to: SystemTime) -> Self {
        Self::new(name, SpanKind::Internal, parent, from, to)
    }

    /// Says what role it had.
    pub fn with_kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }

    /// Says that it ended earlier.
    pub fn with_end(mut self, to: SystemTime) -> Self {
        self.to = to.max(self.from);
        self
    }

    /// Gives it an id that others know already.
    pub fn with_id(mut self, id: SpanId) -> Self {
        self.id = id;
        self
    }

    /// Says whose it is, where a process has several parts.
    pub fn with_service(mut self, service: &'static str) -> Self {
        self.service = Some(service);
        self
    }

    /// Says something about it.
    pub fn with_attribute<'s>(
        mut self,
        key: &'static str,
        value: impl Into<AttributeValue<'s>>,
    ) -> Self {
        self.fields.say(key, value.into());
        self
    }

    /// Says something about it, if there is something to say.
    pub fn with_optional_attribute<'s>(
        self,
        key: &'static str,
        value: Option<impl Into<AttributeValue<'s>>>,
    ) -> Self {
        match value {
            Some(value) => self.with_attribute(key, value),
            None => self,
        }
    }

    /// Says that it has to do with another span of its trace, which isn't its parent.
    pub fn with_link(mut self, id: SpanId) -> Self {
        self.fields.link(&sibling_context(&self.parent, id));
        self
    }

    /// Says that it failed, and in which of few ways.
    pub fn with_error<'s>(mut self, error: impl Into<AttributeValue<'s>>) -> Self {
        self.has_failed = true;
        self.with_attribute("error.type", error)
    }

    /// Hands it on to whoever looks at spans.
    pub fn record(self) {
        if let Some(sink) = SINK.get() {
            sink.export_completed(&self);
        }
    }
}

/// Another span of the trace of `context`, and of this process.
pub(crate) fn sibling_context(context: &SpanContext, id: SpanId) -> SpanContext {
    let (trace, flags) = (context.trace_id(), context.trace_flags());
    SpanContext::new(trace, id, flags, false, context.trace_state().clone())
}

/// An id for a span that is to be recorded later.
pub fn new_span_id() -> SpanId {
    SpanId::from(rand::random::<u64>().max(1))
}

/// The id of the `number`th span about `id`: whoever knows the two knows the span, without
/// its id being kept anywhere.
pub fn derived_span_id(id: Uuid, number: u64) -> SpanId {
    let (high, low) = id.as_u64_pair();
    SpanId::from(mixed(high ^ mixed(low ^ mixed(number))).max(1))
}

/// Spreads what differs in a few bits over all of them, each value to another one
/// (`SplitMix64`).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// `context` as it goes on to what `id`, a span below its own, causes.
pub fn child_context(context: &TraceContext, id: SpanId) -> TraceContext {
    propagation::with_span_id(context, id)
}

/// The time, as spans tell it: the machine's, which the spans of all its processes share.
pub fn now() -> SystemTime {
    opentelemetry::time::now()
}

/// Turns times of another clock into those that spans tell.
#[derive(Clone, Copy, Debug)]
pub struct SpanClock {
    other: Timestamp,
    now: SystemTime,
}

impl SpanClock {
    /// Compares what `clock` says with the time of spans.
    pub fn new(clock: &dyn Clock) -> Self {
        Self { other: clock.now(), now: now() }
    }

    /// The time when this was made.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// What the other clock calls `at`.
    pub fn to_span_time(&self, at: Timestamp) -> SystemTime {
        let ago = self.other.duration_since(at);
        let span = ago.unsigned_abs();
        let moved =
            if ago.is_negative() { self.now.checked_add(span) } else { self.now.checked_sub(span) };
        moved.unwrap_or(self.now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use miniapp_runtime::clock::ManualClock;

    #[test]
    fn ids_of_attempts_differ_and_stay() {
        let task = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let other = Uuid::from_u128(task.as_u128() + 1);
        let ids: HashSet<SpanId> = (0..1000)
            .flat_map(|number| [derived_span_id(task, number), derived_span_id(other, number)])
            .collect();
        assert_eq!(ids.len(), 2000);
        assert_eq!(derived_span_id(task, 7), derived_span_id(task, 7));
        assert!(!ids.contains(&SpanId::INVALID));
    }

    #[test]
    fn times_of_another_clock_keep_their_distance() {
        let clock = ManualClock::default();
        let times = SpanClock::new(&clock);
        let second = SignedDuration::from_secs(1);
        assert_eq!(times.to_span_time(clock.now()), times.now());
        assert_eq!(times.to_span_time(clock.now() + second), times.now() + Duration::from_secs(1));
        assert_eq!(times.to_span_time(clock.now() - second), times.now() - Duration::from_secs(1));
    }
}
