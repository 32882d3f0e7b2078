//! Exemplars: references from measured values to traces.

use std::fmt::{self, Write as _};

use miniapp_types::trace::TraceContext;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceId};
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::trace;

/// The span in which a value was measured. Only recorded spans become exemplars, since others
/// cannot be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

impl Exemplar {
    /// Returns the exemplar for the span in `context`, if it is recorded.
    pub fn from_span_context(context: &SpanContext) -> Option<Self> {
        let is_recorded = context.is_valid() && context.is_sampled();
        is_recorded.then(|| Self { trace: context.trace_id(), span: context.span_id() })
    }

    /// Returns the exemplar for `span`, if it is recorded.
    pub fn from_span(span: &Span) -> Option<Self> {
        if span.is_none() {
            return None;
        }
        Self::from_span_context(span.context().span().span_context())
    }

    /// Returns the exemplar for the span in the context of a message or row, if it is recorded.
    pub fn from_trace_context(context: &TraceContext) -> Option<Self> {
        if !trace::is_sampled(context) {
            return None;
        }
        Self::from_span_context(&trace::span_context(context)?)
    }
}

impl EncodeLabelSet for Exemplar {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let mut add = |key: &str, value: &dyn fmt::Display| {
            let mut label = encoder.encode_label();
            let mut label = label.encode_label_key()?;
            label.write_str(key)?;
            let mut label = label.encode_label_value()?;
            write!(label, "{value}")?;
            label.finish()
        };
        add("trace_id", &self.trace)?;
        add("span_id", &self.span)
    }
}
