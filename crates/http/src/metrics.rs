//! Numbers about requests.

use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;

use miniapp_telemetry::metrics::{self, Exemplar, Gauge, Histograms, SHORT_BUCKETS};

static REQUESTS: LazyLock<Histograms<Request>> = LazyLock::new(|| {
    let help = "How long requests took to be answered";
    metrics::histograms("http_server_request_duration", help, SHORT_BUCKETS)
});

static ACTIVE: LazyLock<Gauge> = LazyLock::new(|| {
    metrics::gauge("http_server_active_requests", "Requests that aren't answered yet")
});

#[expect(clippy::struct_field_names, reason = "these are the names of the convention")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    http_request_method: &'static str,
    /// Empty where there is no such route: paths are the client's.
    http_route: String,
    http_response_status_code: u16,
}

/// Counts an answer.
pub(super) fn answered(
    method: &'static str,
    route: &str,
    status: StatusCode,
    took: Duration,
    exemplar: Option<Exemplar>,
) {
    let labels = Request {
        http_request_method: method,
        http_route: route.to_owned(),
        http_response_status_code: status.as_u16(),
    };
    REQUESTS.observe(&labels, took, exemplar);
}

/// A request that isn't answered yet.
pub(super) struct Active(());

impl Active {
    pub fn begin() -> Self {
        ACTIVE.inc();
        Self(())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.dec();
    }
}
