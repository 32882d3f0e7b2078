//! Time and ids, from a source that tests own.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

/// Tells the time. Everything that depends on the time of day asks one of these.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time in whole microseconds: what every database can keep.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, which doesn't go back where it is set back a little.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the time enters")]
    fn now(&self) -> Timestamp {
        static LATEST: MonotonicTime = MonotonicTime::new();
        let now = LATEST.observe(Timestamp::now().as_microsecond());
        Timestamp::from_microsecond(now).unwrap_or(Timestamp::MAX)
    }
}

/// Keeps a clock from going back where it is corrected a little.
#[derive(Debug)]
pub struct MonotonicTime {
    latest: AtomicI64,
}

impl MonotonicTime {
    /// Begins with whatever time is told first.
    pub const fn new() -> Self {
        Self { latest: AtomicI64::new(i64::MIN) }
    }

    /// What to tell when the clock says `told`, in microseconds.
    pub fn observe(&self, told: i64) -> i64 {
        let latest = self.latest.fetch_max(told, Ordering::Relaxed);
        let now = not_back(latest, told);
        if now < latest {
            // Set back for good; whoever comes next starts from there.
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

/// What to tell when the machine says `told` after `latest`, in microseconds. A small
/// step back is a correction: time stands still until it is made up for.
fn not_back(latest: i64, told: i64) -> i64 {
    const CORRECTION: i64 = 5_000_000;
    if latest.saturating_sub(told) < CORRECTION { told.max(latest) } else { told }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    microseconds: AtomicI64,
}

impl ManualClock {
    /// Stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { microseconds: AtomicI64::new(now.as_microsecond()) }
    }

    /// Stands at `now` from here on, which may be earlier.
    pub fn set(&self, now: Timestamp) {
        self.microseconds.store(now.as_microsecond(), Ordering::SeqCst);
    }

    /// Moves on by `duration`.
    pub fn advance(&self, duration: Duration) {
        let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// Stands at the first second of 2030.
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

/// The same moment in whole microseconds.
pub fn truncate_to_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// A new `UUIDv7` that carries the clock's time.
pub fn new_id(clock: &dyn Clock) -> Uuid {
    id_at(clock.now())
}

/// A new `UUIDv7` that carries the time `at`. Of two ids with the same time the later one
/// is the greater, so ids sort in the order of their making for as long as the clock
/// doesn't go back, whatever other clocks there are in the process.
pub fn id_at(at: Timestamp) -> Uuid {
    /// 40 bits, begun in the lower half: it won't come round.
    static MADE: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(rand::random::<u64>() >> 25));
    const COUNTER_BITS: u32 = 40;
    const RANDOM_BITS: u32 = 62 - COUNTER_BITS;

    // RFC 9562, 6.2: 48 bits of milliseconds, then in the 12 bits of `rand_a` the rest of
    // the time, then a counter, then randomness.
    let microseconds = u64::try_from(at.as_microsecond()).unwrap_or(0);
    let (milliseconds, rest) = (microseconds / 1000, microseconds % 1000);
    let high = (milliseconds << 16) | (0x7 << 12) | (rest * 4096 / 1000);
    let counter = MADE.fetch_add(1, Ordering::Relaxed) & (u64::MAX >> (64 - COUNTER_BITS));
    let random = rand::random::<u64>() >> (64 - RANDOM_BITS);
    let low = (0b10 << 62) | (counter << RANDOM_BITS) | random;
    Uuid::from_u64_pair(high, low)
}

/// The time that an id of [`id_at`] carries, to the microsecond.
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
    fn the_system_clock_tells_whole_microseconds() {
        assert_eq!(SystemClock.now().as_nanosecond() % 1000, 0);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        assert_eq!(clock.now().to_string(), "2030-01-01T00:00:00Z");
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().to_string(), "2030-01-01T00:00:01.5Z");
        clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7_with_its_time() {
        let at: Timestamp = "2031-02-03T04:05:06.789123Z".parse().expect("a time");
        let id = id_at(at);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanoseconds) = id.get_timestamp().expect("version 7").to_unix();
        assert_eq!(i64::try_from(seconds), Ok(at.as_second()));
        assert_eq!(nanoseconds, 789_000_000);
        let told = time_of(id).expect("a time");
        assert!(at.duration_since(told).as_micros() <= 1, "{told}");
        assert_eq!(time_of(Uuid::nil()), None);
    }

    #[test]
    fn ids_sort_as_they_were_made_whatever_another_clock_does() {
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
    fn ids_sort_by_the_microsecond() {
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
    fn time_goes_back_only_where_it_is_set_back_for_good() {
        assert_eq!(not_back(i64::MIN, 7), 7);
        assert_eq!(not_back(10_000_000, 10_000_001), 10_000_001);
        assert_eq!(not_back(10_000_000, 9_000_000), 10_000_000);
        assert_eq!(not_back(10_000_000, 4_000_000), 4_000_000);
    }
}
