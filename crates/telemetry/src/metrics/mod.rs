//! Numbers about this process, in one registry that everyone adds to.
//!
//! Each crate defines its metrics once, in a module of its own, by the functions here.
//! The admin listener shows all of them on `/metrics`. Names are
//! Prometheus' and, where OpenTelemetry has a convention, its own in Prometheus' spelling;
//! what is ours alone begins with `miniapp_`.
//!
//! Every label has few values, known when the code is written or the process starts: no
//! ids, no addresses, nothing that clients make up. What a single case looks like is told
//! by its trace, to which the [`Exemplar`]s of a histogram lead.

mod collect;
mod exemplar;
mod histogram;
mod process;

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::LazyLock;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use collect::{CollectorGuard, register_collector};
pub use exemplar::Exemplar;
pub use histogram::{Histogram, Histograms, LONG_BUCKETS, SHORT_BUCKETS};
pub use prometheus_client::encoding;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;

use crate::ProgramInfo;

/// A number that isn't whole.
pub type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(|| {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process::default()));
    RwLock::new(registry)
});

/// What tells the metrics of a family apart: a struct that derives [`EncodeLabelSet`].
pub trait Labels: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static> Labels for L {}

/// How `/metrics` can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text of old, which everybody reads.
    Prometheus,
    /// The text of OpenMetrics, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// What a reader understands best by its `Accept` header.
    pub fn accepted(accept: Option<&str>) -> Self {
        let mut types = accept.unwrap_or_default().split(',').map(str::trim);
        // Who names it at all prefers it, in every client that there is.
        if types.any(|one| one.starts_with("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All numbers as text. What has to be asked for is asked first.
pub async fn encode(format: Format) -> Result<String, fmt::Error> {
    collect::refresh().await;
    encode_cached(format)
}

/// All numbers as text, those that have to be asked for as they were when somebody last asked.
pub fn encode_cached(format: Format) -> Result<String, fmt::Error> {
    let mut written = String::with_capacity(64 * 1024);
    let registry = REGISTRY.read();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, &registry)?,
        Format::OpenMetrics => text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

/// Says which program this is. To be called once.
pub fn register_build_info(program: ProgramInfo) {
    let info = [
        ("service", program.service),
        ("version", program.version),
        ("revision", program.revision.unwrap_or_default()),
    ];
    register("miniapp_build", "Which program this is", Info::new(info));
}

/// A number that only grows. `name` is without the `_total` that is shown behind it, `help`
/// without a full stop.
pub fn counter(name: &str, help: &str) -> Counter {
    shared(name, help, Counter::default())
}

/// Numbers that only grow, one for each set of labels. Those of `known` are there from the
/// start: where a number appears with its first count, nobody sees it grow.
pub fn counters<L: Labels>(
    name: &str,
    help: &str,
    known: impl IntoIterator<Item = L>,
) -> Family<L, Counter> {
    let counters = shared(name, help, Family::default());
    for labels in known {
        drop(counters.get_or_create(&labels));
    }
    counters
}

/// A number that comes and goes.
pub fn gauge(name: &str, help: &str) -> Gauge {
    shared(name, help, Gauge::default())
}

/// Numbers that come and go, one for each set of labels.
pub fn gauges<L: Labels>(name: &str, help: &str) -> Family<L, Gauge> {
    shared(name, help, Family::default())
}

/// Spans of time that come and go, one for each set of labels. `name` is without the
/// `_seconds` that is shown behind it.
pub fn duration_gauges<L: Labels>(name: &str, help: &str) -> Family<L, FloatGauge> {
    let ages = Family::default();
    REGISTRY.write().register_with_unit(name, help, Unit::Seconds, ages.clone());
    ages
}

/// How long something takes, by its labels. `name` is without the `_seconds` that is shown
/// behind it.
pub fn histograms<L: Labels>(name: &str, help: &str, bounds: &'static [f64]) -> Histograms<L> {
    let histograms = Histograms::new(bounds);
    REGISTRY.write().register_with_unit(name, help, Unit::Seconds, histograms.0.clone());
    histograms
}

/// How long something takes. `name` is without the `_seconds` that is shown behind it.
pub fn histogram(name: &str, help: &str, bounds: &'static [f64]) -> Histogram {
    let histogram = Histogram::new(bounds);
    REGISTRY.write().register_with_unit(name, help, Unit::Seconds, histogram.0.clone());
    histogram
}

fn shared<M: Metric + Clone>(name: &str, help: &str, metric: M) -> M {
    register(name, help, metric.clone());
    metric
}

fn register(name: &str, help: &str, metric: impl Metric) {
    REGISTRY.write().register(name, help, metric);
}

#[cfg(test)]
mod tests;
