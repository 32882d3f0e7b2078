//! What happens around every request, as one layer for [`finish`](crate::finish).

mod access_log;
mod catch_panic;
mod client_address;
mod logged_path;
mod method;
mod metrics;
mod security_headers;
mod trace;

pub use access_log::RequestLog;
pub use trace::X_TRACE_ID;

pub(crate) use access_log::AccessLogLayer;
pub(crate) use catch_panic::CatchPanicLayer;
pub(crate) use client_address::ClientAddressLayer;
pub(crate) use metrics::MetricsLayer;
pub(crate) use security_headers::add_security_headers;
pub(crate) use trace::TraceLayer;
