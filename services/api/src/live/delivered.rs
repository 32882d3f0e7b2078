//! The events that a stream has already delivered.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

const CACHE_CAPACITY: usize = 8 * 1024;
/// The assumed clock skew between processes, in milliseconds. An event may arrive after one
/// with a later id.
const CLOCK_SKEW: u128 = 1000;
/// The position of the milliseconds in a `UUIDv7`.
const TIMESTAMP_SHIFT: u32 = 80;
/// The version and variant bits of a `UUIDv7`.
const VERSION_AND_VARIANT: u128 = 0x7000_8000_0000_0000_0000;

/// Removes duplicates: remembers the sent events that may arrive again.
#[derive(Debug)]
pub(super) struct DeliveredEvents {
    /// Events up to this id are skipped.
    skip_until: Uuid,
    /// The store never has to be read before this id.
    start: Uuid,
    newest: Uuid,
    /// In the order of delivery.
    order: VecDeque<Uuid>,
    known: HashSet<Uuid>,
}

impl DeliveredEvents {
    /// For a stream that starts now. `now` is a new id.
    pub fn starting_at(now: Uuid) -> Self {
        Self { skip_until: Uuid::nil(), ..Self::after(now) }
    }

    /// For a stream that resumes after the event `last`.
    pub fn after(last: Uuid) -> Self {
        Self {
            skip_until: last,
            start: last,
            newest: last,
            order: VecDeque::new(),
            known: HashSet::new(),
        }
    }

    /// For a stream that resumes after the event `last`, with several writing processes. One
    /// with a slower clock may have committed an event with an earlier id later, and the
    /// client may not have it. So events of the clock skew before `last` are sent again.
    pub fn after_with_skew(last: Uuid) -> Self {
        let earlier = minus_skew(last);
        let known = HashSet::from([last]);
        Self { skip_until: earlier, start: earlier, newest: last, order: VecDeque::new(), known }
    }

    /// Records an event. Returns `false` if it was delivered before.
    pub fn insert(&mut self, id: Uuid) -> bool {
        if id <= self.skip_until || !self.known.insert(id) {
            return false;
        }
        if self.order.len() == CACHE_CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        self.newest = self.newest.max(id);
        true
    }

    /// Returns the event that was delivered last.
    pub fn last(&self) -> Option<Uuid> {
        self.order.back().copied()
    }

    /// Returns the id after which the store has to be read to miss nothing: the newest one
    /// minus the clock skew. Events that come again are known.
    pub fn read_after(&self) -> Uuid {
        let mut after = minus_skew(self.newest).max(self.start);
        if self.order.len() == CACHE_CAPACITY
            && let Some(oldest) = self.order.front()
        {
            after = after.max(*oldest);
        }
        after
    }
}

/// Returns an id that is earlier by the clock skew.
fn minus_skew(id: Uuid) -> Uuid {
    let earlier = (id.as_u128() >> TIMESTAMP_SHIFT).saturating_sub(CLOCK_SKEW);
    Uuid::from_u128(earlier << TIMESTAMP_SHIFT | VERSION_AND_VARIANT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miniapp_runtime::clock::{Clock as _, ManualClock, new_id};

    use super::*;

    #[test]
    fn insert_reports_duplicates() {
        let clock = ManualClock::default();
        let start = new_id(&clock);
        let mut delivered = DeliveredEvents::after(start);
        assert_eq!((delivered.last(), delivered.read_after()), (None, start));
        assert!(!delivered.insert(start));
        let (earlier, later) = (new_id(&clock), new_id(&clock));
        assert!(delivered.insert(later));
        assert!(delivered.insert(earlier));
        assert!(!delivered.insert(later));
        assert_eq!((delivered.last(), delivered.read_after()), (Some(earlier), start));
    }

    #[test]
    fn resuming_with_skew_repeats_recent_events() {
        let clock = ManualClock::default();
        let long_ago = new_id(&clock);
        clock.advance(Duration::from_mins(1));
        let (late, last) = (new_id(&clock), new_id(&clock));
        let mut delivered = DeliveredEvents::after_with_skew(last);
        assert!(delivered.read_after() < late);
        assert!(!delivered.insert(last) && !delivered.insert(long_ago));
        assert!(delivered.insert(late) && !delivered.insert(late));
    }

    #[test]
    fn starting_now_includes_concurrent_events() {
        let clock = ManualClock::default();
        let committing = new_id(&clock);
        let mut delivered = DeliveredEvents::starting_at(new_id(&clock));
        assert!(delivered.insert(committing) && !delivered.insert(committing));
    }

    #[test]
    fn read_after_is_shortly_before_the_newest_event() {
        let clock = ManualClock::default();
        let mut delivered = DeliveredEvents::after(new_id(&clock));
        clock.advance(Duration::from_mins(1));
        let newest = new_id(&clock);
        delivered.insert(newest);
        let after = delivered.read_after();
        let (seconds, _) = after.get_timestamp().expect("a time").to_unix();
        let now = u64::try_from(clock.now().as_second()).expect("after 1970");
        assert!(after < newest && now - seconds <= 2);
    }

    #[test]
    fn memory_is_bounded() {
        let clock = ManualClock::default();
        let mut delivered = DeliveredEvents::after(new_id(&clock));
        for _ in 0..3 * CACHE_CAPACITY {
            assert!(delivered.insert(new_id(&clock)));
        }
        assert_eq!(
            (delivered.order.len(), delivered.known.len()),
            (CACHE_CAPACITY, CACHE_CAPACITY)
        );
        assert_eq!(Some(&delivered.read_after()), delivered.order.front());
    }
}
