//! Metrics of this process, in one registry.
//!
//! Each crate defines its own metrics with the functions here. The admin listener serves all of
//! them at `/metrics`. Names follow OpenTelemetry's semantic conventions in Prometheus' spelling;
//! names of metrics that only this platform has start with `miniapp_`.
//!
//! Every label has few values, which are known when the code is written or the process starts:
//! no ids, no addresses, no input of clients. Single cases are found in traces, which the
//! [`Exemplar`]s of histograms refer to.

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

pub type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(|| {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process::default()));
    RwLock::new(registry)
});

/// The labels of a metric family: a struct that derives [`EncodeLabelSet`].
pub trait Labels: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static> Labels for L {}

/// A text format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The classic text format, which every client reads.
    Prometheus,
    /// The OpenMetrics text format, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// Selects the format for an `Accept` header.
    pub fn accepted(accept: Option<&str>) -> Self {
        let mut types = accept.unwrap_or_default().split(',').map(str::trim);
        // Weights are ignored: clients that list OpenMetrics prefer it.
        if types.any(|one| one.starts_with("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Runs the collectors, then encodes all metrics.
pub async fn encode(format: Format) -> Result<String, fmt::Error> {
    collect::refresh().await;
    encode_cached(format)
}

/// Encodes all metrics, with the values that collectors set last.
pub fn encode_cached(format: Format) -> Result<String, fmt::Error> {
    let mut output = String::with_capacity(64 * 1024);
    let registry = REGISTRY.read();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut output, &registry)?,
        Format::OpenMetrics => text::encode(&mut output, &registry)?,
    }
    Ok(output)
}

/// Registers `miniapp_build_info`. Must be called at most once.
pub fn register_build_info(program: ProgramInfo) {
    let info = [
        ("service", program.service),
        ("version", program.version),
        ("revision", program.revision.unwrap_or_default()),
    ];
    register("miniapp_build", "Service, version and revision of this program", Info::new(info));
}

/// Registers a counter. `name` excludes the suffix `_total`, `help` the full stop.
pub fn counter(name: &str, help: &str) -> Counter {
    registered(name, help, Counter::default())
}

/// Registers a family of counters. Those with `known` labels start at 0: Prometheus sees no
/// increase if a counter first appears with the value 1.
pub fn counters<L: Labels>(
    name: &str,
    help: &str,
    known: impl IntoIterator<Item = L>,
) -> Family<L, Counter> {
    let counters = registered(name, help, Family::default());
    for labels in known {
        drop(counters.get_or_create(&labels));
    }
    counters
}

pub fn gauge(name: &str, help: &str) -> Gauge {
    registered(name, help, Gauge::default())
}

pub fn gauges<L: Labels>(name: &str, help: &str) -> Family<L, Gauge> {
    registered(name, help, Family::default())
}

/// Registers a family of gauges in seconds. `name` excludes the suffix `_seconds`.
pub fn duration_gauges<L: Labels>(name: &str, help: &str) -> Family<L, FloatGauge> {
    let gauges = Family::default();
    REGISTRY.write().register_with_unit(name, help, Unit::Seconds, gauges.clone());
    gauges
}

/// Registers a family of histograms in seconds. `name` excludes the suffix `_seconds`.
pub fn histograms<L: Labels>(name: &str, help: &str, bounds: &'static [f64]) -> Histograms<L> {
    let histograms = Histograms::new(bounds);
    REGISTRY.write().register_with_unit(name, help, Unit::Seconds, histograms.0.clone());
    histograms
}

/// Registers a histogram in seconds. `name` excludes the suffix `_seconds`.
pub fn histogram(name: &str, help: &str, bounds: &'static [f64]) -> Histogram {
    let histogram = Histogram::new(bounds);
    REGISTRY.write().register_with_unit(name, help, Unit::Seconds, histogram.0.clone());
    histogram
}

fn registered<M: Metric + Clone>(name: &str, help: &str, metric: M) -> M {
    register(name, help, metric.clone());
    metric
}

fn register(name: &str, help: &str, metric: impl Metric) {
    REGISTRY.write().register(name, help, metric);
}

#[cfg(test)]
mod tests;
