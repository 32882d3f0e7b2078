//! Time and ids from a clock that tests can control.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

/// The clocks of processes that share a database differ by less than this. A stored time that
/// is further in the future was written before the clock was set back.
pub const MAX_SKEW: Duration = Duration::from_secs(1);

/// A source of the current time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the time in whole microseconds, which is the resolution of the databases.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine, monotonic across small corrections.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the source of all times")]
    fn now(&self) -> Timestamp {
        static LATEST: MonotonicTime = MonotonicTime::new();
        let now = LATEST.observe(Timestamp::now().as_microsecond());
        Timestamp::from_microsecond(now).unwrap_or(Timestamp::MAX)
    }
}

/// Makes a clock monotonic across small corrections.
#[derive(Debug)]
pub struct MonotonicTime {
    latest: AtomicI64,
}

impl MonotonicTime {
    pub const fn new() -> Self {
        Self { latest: AtomicI64::new(i64::MIN) }
    }

    /// Returns the monotonic time for the `time` of the clock, in microseconds.
    pub fn observe(&self, time: i64) -> i64 {
        let latest = self.latest.fetch_max(time, Ordering::Relaxed);
        let now = monotonic(latest, time);
        if now < latest {
            // The clock was set back: later times follow the new one.
            let _ = self.latest.compare_exchange(latest, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        now
    }
}

impl Default for MonotonicTime {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the time after `latest` for the `time` of the clock, in microseconds. A small step
/// back is a correction: time stands still until the clock has caught up.
fn monotonic(latest: i64, time: i64) -> i64 {
    const MAX_CORRECTION: i64 = 5_000_000;
    if latest.saturating_sub(time) < MAX_CORRECTION { time.max(latest) } else { time }
}

/// A clock for tests, which changes only when it is set or advanced.
#[derive(Debug)]
pub struct ManualClock {
    microseconds: AtomicI64,
}

impl ManualClock {
    pub fn new(now: Timestamp) -> Self {
        Self { microseconds: AtomicI64::new(now.as_microsecond()) }
    }

    /// Sets the time, which may be earlier than before.
    pub fn set(&self, now: Timestamp) {
        self.microseconds.store(now.as_microsecond(), Ordering::SeqCst);
    }

    pub fn advance(&self, duration: Duration) {
        let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// Starts at 2030-01-01T00:00:00Z.
    fn default() -> Self {
        Self { microseconds: AtomicI64::new(1_893_456_000_000_000) }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let microseconds = self.microseconds.load(Ordering::SeqCst);
        Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX)
    }
}

/// Truncates a time to whole microseconds.
pub fn truncate_to_micros(at: Timestamp) -> Timestamp {
    let nanos = at.subsec_nanosecond().rem_euclid(1000);
    // The earliest time has no fraction, so this cannot fail.
    at.checked_sub(jiff::SignedDuration::from_nanos(nanos.into())).unwrap_or(at)
}

/// Returns a new `UUIDv7` with the time of the clock.
pub fn new_id(clock: &dyn Clock) -> Uuid {
    id_at(clock.now())
}

/// Returns a new `UUIDv7` with the time `at`. Of two ids with the same time, the later one is
/// greater. So ids sort by creation as long as the clock does not go back, whatever other
/// clocks the process has.
pub fn id_at(at: Timestamp) -> Uuid {
    /// Starts in the lower half of its 40 bits, so it does not overflow.
    static COUNTER: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(rand::random::<u64>() >> 25));
    const COUNTER_BITS: u32 = 40;
    const RANDOM_BITS: u32 = 62 - COUNTER_BITS;

    // RFC 9562, section 6.2: 48 bits of milliseconds, the fraction in the 12 bits of `rand_a`,
    // a counter, and random bits.
    let microseconds = u64::try_from(at.as_microsecond()).unwrap_or(0);
    let (milliseconds, rest) = (microseconds / 1000, microseconds % 1000);
    let high = (milliseconds << 16) | (0x7 << 12) | (rest * 4096 / 1000);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed) & (u64::MAX >> (64 - COUNTER_BITS));
    let random = rand::random::<u64>() >> (64 - RANDOM_BITS);
    let low = (0b10 << 62) | (counter << RANDOM_BITS) | random;
    Uuid::from_u64_pair(high, low)
}

/// Returns the time of an id of [`id_at`], to the microsecond.
pub fn time_of(id: Uuid) -> Option<Timestamp> {
    let (high, _) = id.as_u64_pair();
    let microseconds = (high >> 16) * 1000 + (high & 0xfff) * 1000 / 4096;
    let microseconds = i64::try_from(microseconds).ok().filter(|_| id.get_version_num() == 7)?;
    Timestamp::from_microsecond(microseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_has_whole_microseconds() {
        assert_eq!(SystemClock.now().as_nanosecond() % 1000, 0);
    }

    #[test]
    fn manual_clock_changes_only_when_set() {
        let clock = ManualClock::default();
        assert_eq!(clock.now().to_string(), "2030-01-01T00:00:00Z");
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().to_string(), "2030-01-01T00:00:01.5Z");
        clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn id_is_a_uuid_v7_with_its_time() {
        let at: Timestamp = "2031-02-03T04:05:06.789123Z".parse().expect("a time");
        let id = id_at(at);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanoseconds) = id.get_timestamp().expect("version 7").to_unix();
        assert_eq!(i64::try_from(seconds), Ok(at.as_second()));
        assert_eq!(nanoseconds, 789_000_000);
        let time = time_of(id).expect("a time");
        assert!(at.duration_since(time).as_micros() <= 1, "{time}");
        assert_eq!(time_of(Uuid::nil()), None);
    }

    #[test]
    fn ids_sort_by_creation_with_several_clocks() {
        let clock = ManualClock::new("2032-01-01T00:00:00Z".parse().expect("a time"));
        let other = ManualClock::default();
        let mut last = new_id(&clock);
        for round in 0..100_000 {
            if round % 40_000 == 0 {
                clock.advance(Duration::from_micros(1));
            }
            new_id(&other);
            let next = new_id(&clock);
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    }

    #[test]
    fn ids_sort_by_microsecond() {
        let clock = ManualClock::default();
        let ids: Vec<Uuid> = (0..2000)
            .map(|_| {
                clock.advance(Duration::from_micros(1));
                new_id(&clock)
            })
            .collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn time_goes_back_only_after_a_large_step() {
        assert_eq!(monotonic(i64::MIN, 7), 7);
        assert_eq!(monotonic(10_000_000, 10_000_001), 10_000_001);
        assert_eq!(monotonic(10_000_000, 9_000_000), 10_000_000);
        assert_eq!(monotonic(10_000_000, 4_000_000), 4_000_000);
    }
}
