//! When keys are made, when they sign and when they go.

use std::time::Duration;

use jiff::Timestamp;

use super::SealedKey;

/// How long a key is published before it signs: longer than anyone caches the keys.
const LEAD: Duration = Duration::from_mins(10);

/// When keys take turns.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How long a key signs.
    pub rotation: Duration,
    /// How long it stays published after that; at least the life of a token.
    pub overlap: Duration,
}

/// A key that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NextKey {
    pub(super) follows: String,
    pub(super) signs_from: Timestamp,
}

impl Schedule {
    /// The key that is to be made now, if one is.
    pub(super) fn next(&self, keys: &[SealedKey], now: Timestamp) -> Option<NextKey> {
        let Some(newest) = keys.iter().max_by_key(|key| key.signs_from) else {
            return Some(NextKey { follows: String::new(), signs_from: now });
        };
        let ends = newest.signs_from + self.rotation;
        // A rotation shorter than the lead still gives every key its time to be seen.
        let earliest = now + LEAD.min(self.rotation);
        (ends <= earliest)
            .then(|| NextKey { follows: newest.kid.clone(), signs_from: ends.max(earliest) })
    }

    /// The keys whose last token has expired.
    pub(super) fn outdated(&self, keys: &[SealedKey], now: Timestamp) -> Vec<String> {
        let is_outdated = |key: &&SealedKey| {
            let successor = keys.iter().find(|other| other.follows == key.kid);
            successor.is_some_and(|successor| successor.signs_from + self.overlap <= now)
        };
        keys.iter().filter(is_outdated).map(|key| key.kid.clone()).collect()
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
    fn the_first_key_signs_at_once() {
        let now = Timestamp::UNIX_EPOCH;
        let next = SCHEDULE.next(&[], now).expect("a key");
        assert_eq!((next.follows.as_str(), next.signs_from), ("", now));
    }

    #[test]
    fn the_next_key_is_published_before_it_signs() {
        let start = Timestamp::UNIX_EPOCH;
        let keys = [key("a", "", start)];
        let end = start + SCHEDULE.rotation;
        let just_before = end - LEAD - Duration::from_micros(1);
        assert_eq!(SCHEDULE.next(&keys, just_before), None);
        let next = SCHEDULE.next(&keys, end - LEAD).expect("a key");
        assert_eq!((next.follows.as_str(), next.signs_from), ("a", end));
        // After a long sleep it still gets its time to be seen.
        let late = end + HOUR;
        assert_eq!(SCHEDULE.next(&keys, late).map(|key| key.signs_from), Some(late + LEAD));
        // And it isn't made twice.
        let keys = [key("a", "", start), key("b", "a", end)];
        assert_eq!(SCHEDULE.next(&keys, end), None);
    }

    #[test]
    fn a_key_goes_when_its_last_token_has_expired() {
        let turn = Timestamp::UNIX_EPOCH + SCHEDULE.rotation;
        let keys = [key("a", "", Timestamp::UNIX_EPOCH), key("b", "a", turn)];
        let before = turn + HOUR - Duration::from_micros(1);
        assert_eq!(SCHEDULE.outdated(&keys, before), Vec::<String>::new());
        assert_eq!(SCHEDULE.outdated(&keys, turn + HOUR), ["a"]);
    }
}
