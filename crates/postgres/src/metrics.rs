//! Metrics of connections.

use std::sync::LazyLock;
use std::time::Duration;

use miniapp_telemetry::metrics::{
    self, Counter, Exemplar, Family, Gauge, Histogram, Histograms, SHORT_BUCKETS,
};
use prometheus_client::encoding::EncodeLabelSet;
use tracing::Span;

static COUNTS: LazyLock<Family<StateLabels, Gauge>> = LazyLock::new(|| {
    metrics::gauges("db_client_connection_count", "Database connections by state")
});

static MAX: LazyLock<Family<PoolLabels, Gauge>> = LazyLock::new(|| {
    metrics::gauges("db_client_connection_max", "Maximum number of database connections")
});

static WAITS: LazyLock<Histograms<PoolLabels>> = LazyLock::new(|| {
    let help = "Time to obtain a database connection";
    metrics::histograms("db_client_connection_wait_time", help, SHORT_BUCKETS)
});

static TIMEOUTS: LazyLock<Family<PoolLabels, Counter>> = LazyLock::new(|| {
    let help = "Timeouts while waiting for a database connection";
    metrics::counters("db_client_connection_timeouts", help, [])
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    db_client_connection_pool_name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    db_client_connection_pool_name: &'static str,
    db_client_connection_state: &'static str,
}

#[derive(Clone)]
pub(crate) struct PoolMetrics {
    used: Gauge,
    pub idle: Gauge,
    waits: Histogram,
    timeouts: Counter,
}

impl PoolMetrics {
    /// Creates the metrics of the pool `name`.
    pub fn new(name: &'static str, max: u32) -> Self {
        let pool = PoolLabels { db_client_connection_pool_name: name };
        let count = |db_client_connection_state| {
            let db_client_connection_pool_name = name;
            COUNTS.get_or_create_owned(&StateLabels {
                db_client_connection_pool_name,
                db_client_connection_state,
            })
        };
        MAX.get_or_create(&pool).set(max.into());
        Self {
            used: count("used"),
            idle: count("idle"),
            waits: WAITS.with(&pool),
            timeouts: TIMEOUTS.get_or_create_owned(&pool),
        }
    }

    /// Records the time until a connection was available.
    pub fn acquired(&self, took: Duration) {
        self.waits.observe(took, Exemplar::from_span(&Span::current()));
    }

    /// Counts a connection as used until the guard is dropped.
    pub fn mark_used(&self) -> UsedGuard {
        self.used.inc();
        UsedGuard(self.used.clone())
    }

    /// Counts a timeout of the wait for a connection.
    pub fn acquire_timed_out(&self) {
        self.timeouts.inc();
    }
}

/// Counts a connection as used while it exists.
pub(crate) struct UsedGuard(Gauge);

impl Drop for UsedGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
