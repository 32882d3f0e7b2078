//! Histograms of durations.

use std::fmt::{self, Debug};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};

use super::{Exemplar, Labels};
use miniapp_runtime::clock::{Clock as _, SystemClock};

/// Bucket bounds for requests and their operations: from 0.1 milliseconds, which embedded
/// engines need, to ten seconds.
pub const SHORT_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
/// Bucket bounds for tasks: from a millisecond to an hour.
pub const LONG_BUCKETS: &[f64] =
    &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// A histogram of durations in seconds.
#[derive(Clone, Debug)]
pub struct Histogram(pub(super) HistogramWithExemplars<Exemplar>);

/// A family of [`Histogram`]s, one per set of labels.
#[derive(Clone)]
pub struct Histograms<L>(pub(super) Family<L, HistogramWithExemplars<Exemplar>, Bounds>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds(&'static [f64]);

impl MetricConstructor<HistogramWithExemplars<Exemplar>> for Bounds {
    fn new_metric(&self) -> HistogramWithExemplars<Exemplar> {
        HistogramWithExemplars::new(self.0.iter().copied())
    }
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self(Bounds(bounds).new_metric())
    }

    pub fn observe(&self, duration: Duration, exemplar: Option<Exemplar>) {
        observe(&self.0, duration, exemplar);
    }
}

impl<L: Labels> Histograms<L> {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self(Family::new_with_constructor(Bounds(bounds)))
    }

    pub fn observe(&self, labels: &L, duration: Duration, exemplar: Option<Exemplar>) {
        observe(&self.0.get_or_create(labels), duration, exemplar);
    }

    /// Returns the histogram of `labels`. Observing with it needs no further lookup.
    pub fn with(&self, labels: &L) -> Histogram {
        Histogram(self.0.get_or_create_owned(labels))
    }
}

impl<L: Debug> Debug for Histograms<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histograms").field(&self.0).finish()
    }
}

fn observe(
    histogram: &HistogramWithExemplars<Exemplar>,
    duration: Duration,
    exemplar: Option<Exemplar>,
) {
    let at = exemplar.is_some().then(|| SystemTime::from(SystemClock.now()));
    histogram.observe(duration.as_secs_f64(), exemplar, at);
}
