//! Numbers about connections.

use std::sync::LazyLock;
use std::time::Duration;

use miniapp_telemetry::metrics::{
    self, Counter, Exemplar, Family, Gauge, Histogram, Histograms, SHORT_BUCKETS,
};
use prometheus_client::encoding::EncodeLabelSet;
use tracing::Span;

static COUNTS: LazyLock<Family<InState, Gauge>> = LazyLock::new(|| {
    metrics::gauges("db_client_connection_count", "Connections to the database, by their use")
});

static MOST: LazyLock<Family<Pool, Gauge>> = LazyLock::new(|| {
    metrics::gauges("db_client_connection_max", "How many connections there may be")
});

static WAITS: LazyLock<Histograms<Pool>> = LazyLock::new(|| {
    let help = "How long it took to get a connection";
    metrics::histograms("db_client_connection_wait_time", help, SHORT_BUCKETS)
});

static TIMEOUTS: LazyLock<Family<Pool, Counter>> = LazyLock::new(|| {
    let help = "How often no connection was to be had in time";
    metrics::counters("db_client_connection_timeouts", help, [])
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    db_client_connection_pool_name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    db_client_connection_pool_name: &'static str,
    db_client_connection_state: &'static str,
}

/// The numbers of one database's connections.
pub(crate) struct Numbers {
    used: Gauge,
    /// Those that wait for their next use.
    pub idle: Gauge,
    waits: Histogram,
    timeouts: Counter,
}

impl Numbers {
    /// Of the connections for `name`, of which there may be `most`.
    pub fn new(name: &'static str, most: u32) -> Self {
        let pool = Pool { db_client_connection_pool_name: name };
        let count = |db_client_connection_state| {
            let db_client_connection_pool_name = name;
            COUNTS.get_or_create_owned(&InState {
                db_client_connection_pool_name,
                db_client_connection_state,
            })
        };
        MOST.get_or_create(&pool).set(most.into());
        Self {
            used: count("used"),
            idle: count("idle"),
            waits: WAITS.with(&pool),
            timeouts: TIMEOUTS.get_or_create_owned(&pool),
        }
    }

    /// A connection was to be had, after so long.
    pub fn waited(&self, took: Duration) {
        self.waits.observe(took, Exemplar::from_span(&Span::current()));
    }

    /// Counts one as used for as long as what it gives lives.
    pub fn begin_use(&self) -> Used {
        self.used.inc();
        Used(self.used.clone())
    }

    /// None was.
    pub fn timed_out(&self) {
        self.timeouts.inc();
    }
}

/// A connection is in use.
pub(crate) struct Used(Gauge);

impl Drop for Used {
    fn drop(&mut self) {
        self.0.dec();
    }
}
