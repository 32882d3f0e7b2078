//! The clock of the database server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use miniapp_config::Database as Settings;
use miniapp_runtime::clock::{Clock, MonotonicTime};
use sqlx::Row as _;

use crate::DatabaseError;
use crate::database::Database;

/// Interval of the clock comparisons.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Interval until the first comparison succeeds.
const INITIAL_SYNC_INTERVAL: Duration = Duration::from_millis(500);
/// Number of samples per comparison. The one with the shortest round trip is used.
const SAMPLES: usize = 3;
/// Differences from this many microseconds on are logged.
const LOG_THRESHOLD_MICROS: i64 = 1_000_000;

/// Returns the clock that all processes of a database share: the server's clock, or the
/// `machine` clock for a SQLite file.
pub async fn open_clock(
    settings: &Settings,
    machine: Arc<dyn Clock>,
) -> Result<Arc<dyn Clock>, DatabaseError> {
    if settings.url.scheme() == "sqlite" {
        return Ok(machine);
    }
    let settings = Settings { connections: 1, ..settings.clone() };
    let database = Arc::new(Database::new(&settings, None)?.with_pool_name("clock"));
    Ok(DatabaseClock::start(database, machine).await)
}

/// Follows the database server's clock, so that processes agree on the end of a lease
/// regardless of their machines' clocks.
///
/// Between comparisons it uses the monotonic clock. Until the first comparison succeeds it
/// starts from the machine's time.
pub struct DatabaseClock {
    started: Instant,
    /// The database's time at `started`, in microseconds since 1970.
    started_at: AtomicI64,
    monotonic: MonotonicTime,
    machine: Arc<dyn Clock>,
}

impl DatabaseClock {
    /// Compares the clocks now and then periodically until the clock is dropped.
    pub async fn start(database: Arc<Database>, machine: Arc<dyn Clock>) -> Arc<Self> {
        let clock = Arc::new(Self {
            started: Instant::now(),
            started_at: AtomicI64::new(machine.now().as_microsecond()),
            monotonic: MonotonicTime::default(),
            machine,
        });
        let mut is_synced = clock.sync(&database).await.is_ok();
        let weak = Arc::downgrade(&clock);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(if is_synced { SYNC_INTERVAL } else { INITIAL_SYNC_INTERVAL })
                    .await;
                let Some(clock) = weak.upgrade() else { return };
                match clock.sync(&database).await {
                    Ok(()) => is_synced = true,
                    Err(error) => tracing::debug!(%error, "reading the database's clock failed"),
                }
            }
        });
        clock
    }

    /// Reads the database's clock.
    async fn sync(&self, database: &Database) -> Result<(), DatabaseError> {
        const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let mut best: Option<Sample> = None;
        for _ in 0..SAMPLES {
            let sent_at = self.started.elapsed();
            let row = database.fetch_optional(|| sqlx::query(NOW)).await?;
            let round_trip = self.started.elapsed().saturating_sub(sent_at);
            let Some(row) = row else { continue };
            let server_time: i64 = row.try_get(0)?;
            let started_at = server_time - micros(sent_at + round_trip / 2);
            let sample = Sample { started_at, round_trip };
            best = Some(best.map_or(sample, |best| best.better(sample)));
        }
        if let Some(best) = best {
            self.set(best);
        }
        Ok(())
    }

    fn set(&self, sample: Sample) {
        let before = self.started_at.load(Ordering::Relaxed);
        let change = sample.started_at - before;
        // Within the error of the measurement.
        if change.abs() <= micros(sample.round_trip) {
            return;
        }
        self.started_at.store(sample.started_at, Ordering::Relaxed);
        if change.abs() >= LOG_THRESHOLD_MICROS {
            let machine = self.machine.now().as_microsecond();
            let ahead = machine - (sample.started_at + micros(self.started.elapsed()));
            let seconds = Duration::from_micros(ahead.unsigned_abs()).as_secs_f64().round();
            let direction = if ahead < 0 { "behind" } else { "ahead of" };
            tracing::warn!(
                seconds,
                "this machine's clock is {direction} the database's, which is used"
            );
        }
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let time = self.started_at.load(Ordering::Relaxed) + micros(self.started.elapsed());
        Timestamp::from_microsecond(self.monotonic.observe(time)).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for DatabaseClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// One reading of the database's clock.
#[derive(Clone, Copy)]
struct Sample {
    /// The resulting `DatabaseClock::started_at`.
    started_at: i64,
    /// The bound of its error.
    round_trip: Duration,
}

impl Sample {
    fn better(self, other: Self) -> Self {
        if other.round_trip < self.round_trip { other } else { self }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
