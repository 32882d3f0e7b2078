//! What a stream has sent already.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// How many events are remembered one by one.
const REMEMBERED: usize = 8 * 1024;
/// How far apart the clocks of processes may be, in milliseconds: an event may be told
/// after one with a later id.
const SKEW: u128 = 1000;
/// Where the milliseconds begin in a `UUIDv7`.
const MILLISECONDS: u32 = 80;
/// What makes it one.
const VERSION_AND_VARIANT: u128 = 0x7000_8000_0000_0000_0000;

/// The events that a stream has sent, as far as they could come again.
#[derive(Debug)]
pub(super) struct Sent {
    /// Events up to this one, in the order of their ids, aren't to be sent.
    refused: Uuid,
    /// The store needn't be read before this one.
    begin: Uuid,
    newest: Uuid,
    /// In the order of their sending.
    order: VecDeque<Uuid>,
    known: HashSet<Uuid>,
}

impl Sent {
    /// A stream that begins with whatever is told from `now`, an id of this moment, on.
    pub fn from(now: Uuid) -> Self {
        Self { refused: Uuid::nil(), ..Self::after(now) }
    }

    /// A stream that goes on after the event `last`.
    pub fn after(last: Uuid) -> Self {
        Self {
            refused: last,
            begin: last,
            newest: last,
            order: VecDeque::new(),
            known: HashSet::new(),
        }
    }

    /// A stream that goes on after the event `last`, where other processes make events too:
    /// one with a slower clock may have committed an earlier one after it. So what is a
    /// little earlier comes again, for nobody knows what of that the client has.
    pub fn after_among_others(last: Uuid) -> Self {
        let earlier = earlier_than(last);
        let known = HashSet::from([last]);
        Self { refused: earlier, begin: earlier, newest: last, order: VecDeque::new(), known }
    }

    /// Notes that an event is being sent; `false` if it was sent before.
    pub fn note(&mut self, id: Uuid) -> bool {
        if id <= self.refused || !self.known.insert(id) {
            return false;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        self.newest = self.newest.max(id);
        true
    }

    /// The event that was sent last.
    pub fn last(&self) -> Option<Uuid> {
        self.order.back().copied()
    }

    /// After which event the store has to be read, so that nothing is missed: a little
    /// before the newest one, what comes again is known.
    pub fn read_after(&self) -> Uuid {
        let mut after = earlier_than(self.newest).max(self.begin);
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.front()
        {
            after = after.max(*oldest);
        }
        after
    }
}

/// An id of a moment that is earlier by as much as clocks may be apart.
fn earlier_than(id: Uuid) -> Uuid {
    let earlier = (id.as_u128() >> MILLISECONDS).saturating_sub(SKEW);
    Uuid::from_u128(earlier << MILLISECONDS | VERSION_AND_VARIANT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miniapp_runtime::clock::{Clock as _, ManualClock, new_id};

    use super::*;

    #[test]
    fn an_event_is_sent_once() {
        let clock = ManualClock::default();
        let begin = new_id(&clock);
        let mut sent = Sent::after(begin);
        assert_eq!((sent.last(), sent.read_after()), (None, begin));
        assert!(!sent.note(begin));
        let (earlier, later) = (new_id(&clock), new_id(&clock));
        assert!(sent.note(later));
        assert!(sent.note(earlier));
        assert!(!sent.note(later));
        assert_eq!((sent.last(), sent.read_after()), (Some(earlier), begin));
    }

    #[test]
    fn among_others_what_is_a_little_earlier_comes_again() {
        let clock = ManualClock::default();
        let long_ago = new_id(&clock);
        clock.advance(Duration::from_mins(1));
        let (late, last) = (new_id(&clock), new_id(&clock));
        let mut sent = Sent::after_among_others(last);
        assert!(sent.read_after() < late);
        assert!(!sent.note(last) && !sent.note(long_ago));
        assert!(sent.note(late) && !sent.note(late));
    }

    #[test]
    fn from_now_on_includes_what_was_made_a_moment_ago() {
        let clock = ManualClock::default();
        let committing = new_id(&clock);
        let mut sent = Sent::from(new_id(&clock));
        assert!(sent.note(committing) && !sent.note(committing));
    }

    #[test]
    fn reading_again_begins_a_little_before_the_newest() {
        let clock = ManualClock::default();
        let mut sent = Sent::after(new_id(&clock));
        clock.advance(Duration::from_mins(1));
        let newest = new_id(&clock);
        sent.note(newest);
        let after = sent.read_after();
        let (seconds, _) = after.get_timestamp().expect("a time").to_unix();
        let now = u64::try_from(clock.now().as_second()).expect("after 1970");
        assert!(after < newest && now - seconds <= 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let clock = ManualClock::default();
        let mut sent = Sent::after(new_id(&clock));
        for _ in 0..3 * REMEMBERED {
            assert!(sent.note(new_id(&clock)));
        }
        assert_eq!((sent.order.len(), sent.known.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(Some(&sent.read_after()), sent.order.front());
    }
}
