//! When keys are created, sign and expire.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock::MAX_SKEW;

use crate::store::SealedKey;

/// How long a key is published before it signs: longer than clients cache keys.
const LEAD: Duration = Duration::from_mins(10);
/// The same for a key that an administrator creates: a process reads it within seconds, and clients
/// cache keys for a minute.
pub(crate) const SHORT_LEAD: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How long a key signs.
    pub rotation: Duration,
    /// How long a key stays published after that; at least the TTL of a token.
    pub overlap: Duration,
}

/// A key to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NextKey {
    pub(super) follows: String,
    pub(super) signs_from: Timestamp,
}

impl Schedule {
    /// Returns the key to be created at `now`, if any.
    pub(super) fn next(&self, keys: &[SealedKey], now: Timestamp) -> Option<NextKey> {
        let Some(last) = last(&keys.iter().collect::<Vec<_>>()) else {
            return Some(NextKey { follows: String::new(), signs_from: now });
        };
        // With a rotation shorter than the lead, keys are published for one rotation.
        let earliest = now + LEAD.min(self.rotation);
        let newest = keys.iter().filter(|key| !is_from_future(key, now));
        let newest = newest.map(|key| key.signs_from).max();
        let ends = newest.map_or(earliest, |signs_from| signs_from + self.rotation);
        (ends <= earliest).then(|| NextKey { follows: last.kid.clone(), signs_from: earliest })
    }

    /// Returns the keys whose last token has expired.
    pub(super) fn expired(&self, keys: &[SealedKey], now: Timestamp) -> Vec<String> {
        let is_expired = |key: &&SealedKey| {
            keys.iter().filter(|other| !is_from_future(other, now)).any(|other| {
                let replaces = other.signs_from > key.signs_from || is_from_future(key, now);
                replaces && other.signs_from + self.overlap <= now
            })
        };
        keys.iter().filter(is_expired).map(|key| key.kid.clone()).collect()
    }
}

/// Returns the key that has no successor yet.
pub(crate) fn last<'k>(keys: &[&'k SealedKey]) -> Option<&'k SealedKey> {
    let is_last = |key: &&&SealedKey| keys.iter().all(|other| other.follows != key.kid);
    keys.iter().filter(is_last).copied().max_by_key(|key| key.signs_from)
}

/// Whether a key was created before the clock was set back. Otherwise it would delay its
/// successor until its time is reached again.
fn is_from_future(key: &SealedKey, now: Timestamp) -> bool {
    key.signs_from > now + LEAD + MAX_SKEW
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const SCHEDULE: Schedule = Schedule { rotation: Duration::from_hours(24), overlap: HOUR };

    fn key(kid: &str, follows: &str, signs_from: Timestamp) -> SealedKey {
        let (kid, follows) = (kid.to_owned(), follows.to_owned());
        SealedKey { kid, follows, public: [0; 32], sealed: Vec::new(), signs_from }
    }

    #[test]
    fn first_key_signs_immediately() {
        let now = Timestamp::UNIX_EPOCH;
        let next = SCHEDULE.next(&[], now).expect("a key");
        assert_eq!((next.follows.as_str(), next.signs_from), ("", now));
    }

    #[test]
    fn next_key_is_published_before_it_signs() {
        let start = Timestamp::UNIX_EPOCH;
        let keys = [key("a", "", start)];
        let end = start + SCHEDULE.rotation;
        let just_before = end - LEAD - Duration::from_micros(1);
        assert_eq!(SCHEDULE.next(&keys, just_before), None);
        let next = SCHEDULE.next(&keys, end - LEAD).expect("a key");
        assert_eq!((next.follows.as_str(), next.signs_from), ("a", end));
        // A late key is still published before it signs.
        let late = end + HOUR;
        assert_eq!(SCHEDULE.next(&keys, late).map(|key| key.signs_from), Some(late + LEAD));
        // It isn't created twice.
        let keys = [key("a", "", start), key("b", "a", end)];
        assert_eq!(SCHEDULE.next(&keys, end), None);
    }

    #[test]
    fn key_expires_with_its_last_token() {
        let turn = Timestamp::UNIX_EPOCH + SCHEDULE.rotation;
        let keys = [key("a", "", Timestamp::UNIX_EPOCH), key("b", "a", turn)];
        let before = turn + HOUR - Duration::from_micros(1);
        assert_eq!(SCHEDULE.expired(&keys, before), Vec::<String>::new());
        assert_eq!(SCHEDULE.expired(&keys, turn + HOUR), ["a"]);
    }

    #[test]
    fn keys_from_the_future_are_replaced() {
        let now = Timestamp::UNIX_EPOCH;
        let year = 365 * SCHEDULE.rotation;
        // The clock was a year ahead for a while.
        let mut keys = vec![key("a", "", now), key("b", "a", now + year)];
        assert_eq!(SCHEDULE.next(&keys, now), None, "a signs");
        assert_eq!(SCHEDULE.expired(&keys, now + HOUR), ["b"]);
        let end = now + SCHEDULE.rotation;
        let next = SCHEDULE.next(&keys, end - LEAD).expect("a key");
        assert_eq!((next.follows.as_str(), next.signs_from), ("b", end));
        keys.push(key("c", "b", end));
        assert_eq!(SCHEDULE.next(&keys, end), None);
        assert_eq!(SCHEDULE.expired(&keys, end + HOUR), ["a", "b"]);
        // No key of the present is left.
        let next = SCHEDULE.next(&keys[1..2], now).expect("a key");
        assert_eq!((next.follows.as_str(), next.signs_from), ("b", now + LEAD));
    }
}
