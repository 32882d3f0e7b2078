//! When keys are created, sign and expire.

use std::time::Duration;

use jiff::Timestamp;

use crate::store::SealedKey;

/// How long a key is published before it signs: longer than clients cache keys.
const LEAD: Duration = Duration::from_mins(10);

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
        let Some(newest) = keys.iter().max_by_key(|key| key.signs_from) else {
            return Some(NextKey { follows: String::new(), signs_from: now });
        };
        let ends = newest.signs_from + self.rotation;
        // With a rotation shorter than the lead, keys are published for one rotation.
        let earliest = now + LEAD.min(self.rotation);
        (ends <= earliest)
            .then(|| NextKey { follows: newest.kid.clone(), signs_from: ends.max(earliest) })
    }

    /// Returns the keys whose last token has expired.
    pub(super) fn expired(&self, keys: &[SealedKey], now: Timestamp) -> Vec<String> {
        let is_expired = |key: &&SealedKey| {
            let successor = keys.iter().find(|other| other.follows == key.kid);
            successor.is_some_and(|successor| successor.signs_from + self.overlap <= now)
        };
        keys.iter().filter(is_expired).map(|key| key.kid.clone()).collect()
    }
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
}
