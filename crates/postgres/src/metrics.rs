//! PoolMetrics about connections.

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

/// The numbers of one database's connections.
pub(crate) struct PoolMetrics {
    used: Gauge,
    /// Those that wait for their next use.
    pub idle: Gauge,
    waits: Histogram,
    timeouts: Counter,
}

impl PoolMetrics {
    /// Of the connections for `name`, of which there may be `most`.
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

    /// A connection was to be had, after so long.
    pub fn acquired(&self, took: Duration) {
        self.waits.observe(took, Exemplar::from_span(&Span::current()));
    }

    /// Counts one as used for as long as what it gives lives.
    pub fn mark_used(&self) -> UsedGuard {
        self.used.inc();
        UsedGuard(self.used.clone())
    }

    /// None was.
    pub fn acquire_timed_out(&self) {
        self.timeouts.inc();
    }
}

/// A connection is in use.
pub(crate) struct UsedGuard(Gauge);

impl Drop for UsedGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
