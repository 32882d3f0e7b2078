//! The database's time.

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

/// How often the clocks are compared.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// How often as long as that never succeeded.
const INITIAL_SYNC_INTERVAL: Duration = Duration::from_millis(500);
/// The best of so many comparisons counts: the one with the fastest answer.
const SAMPLES: usize = 3;
/// From how many microseconds on a difference is worth a line in the log.
const LOG_THRESHOLD_MICROS: i64 = 1_000_000;

/// The time that all processes on the database go by: its own, or that of the `machine`
/// where the database is a file on it.
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

/// Tells the time of the database's machine, so that processes agree on when a lease ends
/// whatever their own machines say.
///
/// Between comparisons it goes by a clock that nobody sets, not by the machine's time of
/// day. Until the first one succeeds it tells the machine's time.
pub struct DatabaseClock {
    began: Instant,
    /// The database's time at `began`, in microseconds since 1970.
    began_at: AtomicI64,
    monotonic: MonotonicTime,
    machine: Arc<dyn Clock>,
}

impl DatabaseClock {
    /// Compares the clocks now, and again and again for as long as this is in use.
    pub async fn start(database: Arc<Database>, machine: Arc<dyn Clock>) -> Arc<Self> {
        let clock = Arc::new(Self {
            began: Instant::now(),
            began_at: AtomicI64::new(machine.now().as_microsecond()),
            monotonic: MonotonicTime::default(),
            machine,
        });
        let mut known = clock.compare(&database).await.is_ok();
        let weak = Arc::downgrade(&clock);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(if known { SYNC_INTERVAL } else { INITIAL_SYNC_INTERVAL }).await;
                let Some(clock) = weak.upgrade() else { return };
                match clock.compare(&database).await {
                    Ok(()) => known = true,
                    Err(fault) => tracing::debug!(%fault, "could not ask the database's time"),
                }
            }
        });
        clock
    }

    /// Asks the database for the time.
    async fn compare(&self, database: &Database) -> Result<(), DatabaseError> {
        const ASK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let mut best: Option<Sample> = None;
        for _ in 0..SAMPLES {
            let asked = self.began.elapsed();
            let row = database.fetch_optional(|| sqlx::query(ASK)).await?;
            let took = self.began.elapsed().saturating_sub(asked);
            let Some(row) = row else { continue };
            let told: i64 = row.try_get(0)?;
            let sample = Sample { began_at: told - micros(asked + took / 2), took };
            best = Some(best.map_or(sample, |best| best.better(sample)));
        }
        if let Some(best) = best {
            self.set(best);
        }
        Ok(())
    }

    fn set(&self, sample: Sample) {
        let before = self.began_at.load(Ordering::Relaxed);
        let change = sample.began_at - before;
        // What may only be the way of the question isn't worth a step.
        if change.abs() <= micros(sample.took) {
            return;
        }
        self.began_at.store(sample.began_at, Ordering::Relaxed);
        if change.abs() >= LOG_THRESHOLD_MICROS {
            let machine = self.machine.now().as_microsecond();
            let ahead = machine - (sample.began_at + micros(self.began.elapsed()));
            let seconds = Duration::from_micros(ahead.unsigned_abs()).as_secs_f64().round();
            let direction = if ahead < 0 { "behind" } else { "ahead of" };
            tracing::warn!(
                seconds,
                "this machine's clock is {direction} the database's, which is the one that counts"
            );
        }
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let told = self.began_at.load(Ordering::Relaxed) + micros(self.began.elapsed());
        Timestamp::from_microsecond(self.monotonic.observe(told)).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for DatabaseClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// A comparison of the clocks.
#[derive(Clone, Copy)]
struct Sample {
    /// What it makes of `DatabaseClock::began_at`.
    began_at: i64,
    /// How long the answer took: how wrong it can be.
    took: Duration,
}

impl Sample {
    fn better(self, other: Self) -> Self {
        if other.took < self.took { other } else { self }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
