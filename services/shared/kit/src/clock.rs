//! Time and ids, from a source that tests own.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rand::RngExt as _;
use uuid::Uuid;

/// Tells the time. Everything that depends on the time of day asks one of these.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time in whole microseconds: what every database can keep.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the time enters")]
    fn now(&self) -> Timestamp {
        truncated(Timestamp::now())
    }
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
pub fn truncated(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// A new `UUIDv7` that carries the clock's time.
pub fn new_id(clock: &dyn Clock) -> Uuid {
    id_at(clock.now())
}

/// A new `UUIDv7` that carries the time `at`. Ids of this process sort in the order of
/// their making as long as time doesn't step back by more than a few seconds.
pub fn id_at(at: Timestamp) -> Uuid {
    /// The last id's time in microseconds, and how many came before it in that one.
    static LAST: Mutex<(u64, u16)> = Mutex::new((0, 0));
    /// A clock that was set back this little goes on at its latest time.
    const STEP_BACK: u64 = 5_000_000;
    const COUNTER_BITS: u32 = 14;

    let now = u64::try_from(at.as_microsecond()).unwrap_or(0);
    let (microseconds, counter) = {
        let mut last = LAST.lock();
        *last = match *last {
            (latest, counter) if now <= latest && latest - now < STEP_BACK => {
                let next = (counter + 1) % (1 << COUNTER_BITS);
                (latest + u64::from(next == 0), next)
            }
            _ => (now, 0),
        };
        *last
    };
    // RFC 9562, 6.2: 48 bits of milliseconds, then in the 12 bits of `rand_a` the rest of
    // the time, then a counter, then randomness.
    let (milliseconds, rest) = (microseconds / 1000, microseconds % 1000);
    let fraction = rest * 4096 / 1000;
    let high = (milliseconds << 16) | (0x7 << 12) | fraction;
    let random = rand::rng().random::<u64>() & (u64::MAX >> (2 + COUNTER_BITS));
    let low = (0b10 << 62) | (u64::from(counter) << (62 - COUNTER_BITS)) | random;
    Uuid::from_u64_pair(high, low)
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
    }

    #[test]
    fn ids_sort_as_they_were_made() {
        let clock = ManualClock::new("2032-01-01T00:00:00Z".parse().expect("a time"));
        let mut last = new_id(&clock);
        for round in 0..100_000 {
            if round % 40_000 == 0 {
                clock.advance(Duration::from_micros(1));
            }
            let next = new_id(&clock);
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    }
}
