//! Trace context as it travels in headers, messages and stored rows.

use serde::{Deserialize, Serialize};

/// W3C Trace Context and Baggage, kept as the header values they are.
///
/// <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// `version-traceid-spanid-flags`; absent where nothing is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Box<str>>,
    /// Vendors' additions, passed on untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<Box<str>>,
    /// The caller's own key-value pairs, passed on untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baggage: Option<Box<str>>,
}

impl TraceContext {
    /// The 32 hexadecimal digits of the trace id, where there is a context.
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref().and_then(|parent| parent.get(3..35))
    }
}
