//! Trace context in headers, messages and rows.

use serde::{Deserialize, Serialize};

/// W3C Trace Context and Baggage as header values.
///
/// <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// `version-traceid-spanid-flags`; absent without a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Box<str>>,
    /// Propagated unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<Box<str>>,
    /// Key-value pairs of the caller, propagated unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baggage: Option<Box<str>>,
}

impl TraceContext {
    /// Returns the 32 hexadecimal digits of the trace id.
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref().and_then(|parent| parent.get(3..35))
    }
}
