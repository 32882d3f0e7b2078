//! The first events after a given one, collected from many timelines.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use miniapp_types::task::Event;
use uuid::Uuid;

use crate::engine::{EventPage, StoreError};
use crate::timeline;

/// The limit of the stored lines of a page, in bytes. A larger event is a page of its own.
const MAX_BYTES: usize = 512 * 1024;
/// The position of the milliseconds in a `UUIDv7`.
const TIMESTAMP_SHIFT: u32 = 80;

/// Collects the first events after a given one, ordered by id.
///
/// Ids are made before the commit, so another process may commit a smaller id later. Readers
/// resume shortly before the last event they have and drop duplicates.
pub(crate) struct Following {
    after: Uuid,
    /// How the line of the event `after` begins.
    after_line: String,
    limit: usize,
    /// With the sizes of their lines.
    events: BTreeMap<Uuid, (usize, Event)>,
    bytes: usize,
    /// Whether events were left out because there were too many.
    is_full: bool,
    /// Events up to this id are known; later ones of incomplete timelines are not.
    known_until: Uuid,
}

impl Following {
    pub fn new(after: Uuid, limit: u32) -> Self {
        Self {
            after,
            after_line: format!("[\"{after}\""),
            limit: limit as usize,
            events: BTreeMap::new(),
            bytes: 0,
            is_full: false,
            known_until: Uuid::max(),
        }
    }

    /// Adds the later events of successive parts of a timeline. Within a task the timeline's
    /// order is authoritative, even if ids from different clocks disagree.
    pub fn add(&mut self, task_id: Uuid, parts: &[&str]) -> Result<(), StoreError> {
        let found = parts.iter().enumerate().find_map(|(index, part)| {
            let line = part.find(&self.after_line)?;
            Some((index, &part[line..]))
        });
        let Some((index, rest)) = found else {
            return parts.iter().try_for_each(|part| self.add_lines(task_id, part, self.after));
        };
        let (_, rest) = rest.split_once('\n').unwrap_or_default();
        self.add_lines(task_id, rest, Uuid::nil())?;
        parts[index + 1..].iter().try_for_each(|part| self.add_lines(task_id, part, Uuid::nil()))
    }

    /// Adds a part of a timeline that continues after `lines`. Its other events are not older
    /// than the last one of `lines` minus `skew`.
    pub fn add_incomplete(
        &mut self,
        task_id: Uuid,
        lines: &str,
        skew: SignedDuration,
    ) -> Result<(), StoreError> {
        self.add(task_id, &[lines])?;
        let last = lines.lines().next_back().and_then(timeline::id_of).unwrap_or_default();
        self.known_until = self.known_until.min(minus(last, skew));
        Ok(())
    }

    fn add_lines(&mut self, task_id: Uuid, lines: &str, after: Uuid) -> Result<(), StoreError> {
        // Most lines are skipped, so events are decoded only when they are needed.
        for line in lines.lines() {
            let id = timeline::id_of(line);
            if id.is_some_and(|id| id <= after) {
                continue;
            }
            let last = self.events.last_key_value();
            if self.is_full && id.is_some_and(|id| last.is_some_and(|(last, _)| id > *last)) {
                continue;
            }
            for event in timeline::decode(task_id, line) {
                self.insert(event?, line.len());
            }
        }
        Ok(())
    }

    fn insert(&mut self, event: Event, bytes: usize) {
        self.bytes += bytes;
        if let Some((replaced, _)) = self.events.insert(event.id, (bytes, event)) {
            self.bytes -= replaced;
        }
        while self.events.len() > self.limit || (self.bytes > MAX_BYTES && self.events.len() > 1) {
            self.is_full = true;
            self.bytes -= self.events.pop_last().map_or(0, |(_, (bytes, _))| bytes);
        }
    }

    /// Returns the events, unless longer parts of incomplete timelines are needed to know any.
    pub fn finish(self) -> Option<EventPage> {
        let is_complete = !self.is_full && self.known_until == Uuid::max();
        let known = self.events.into_iter().take_while(|(id, _)| *id <= self.known_until);
        let events: Vec<Event> = known.map(|(_, (_, event))| event).collect();
        let has_progress = is_complete || !events.is_empty();
        has_progress.then_some(EventPage { events, is_complete })
    }
}

/// Returns the smallest id that is earlier than `id` by `skew`.
fn minus(id: Uuid, skew: SignedDuration) -> Uuid {
    if skew.is_zero() {
        return id;
    }
    let skew = u128::try_from(skew.as_millis()).unwrap_or(0);
    Uuid::from_u128((id.as_u128() >> TIMESTAMP_SHIFT).saturating_sub(skew) << TIMESTAMP_SHIFT)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use miniapp_types::task::{EventType, Status};

    use super::*;

    fn event(number: u64) -> Event {
        Event {
            id: Uuid::from_u128(u128::from(number) << TIMESTAMP_SHIFT | 1),
            task_id: Uuid::nil(),
            at: Timestamp::UNIX_EPOCH,
            kind: EventType::Progress,
            status: Status::Executing,
            message: None,
            progress: 0.0,
            attempt: 1,
            worker: None,
        }
    }

    fn lines(numbers: &[u64]) -> String {
        timeline::encode(&numbers.iter().copied().map(event).collect::<Vec<_>>())
    }

    fn numbers(page: &EventPage) -> Vec<u64> {
        page.events.iter().map(|event| (event.id.as_u128() >> TIMESTAMP_SHIFT) as u64).collect()
    }

    #[test]
    fn events_are_merged_by_id_up_to_the_limit() {
        let mut following = Following::new(event(2).id, 4);
        following.add(Uuid::nil(), &[&lines(&[1, 4]), &lines(&[6, 9])]).expect("readable");
        following.add(Uuid::nil(), &[&lines(&[2, 3, 5, 8])]).expect("readable");
        let page = following.finish().expect("events");
        assert_eq!((numbers(&page), page.is_complete), (vec![3, 4, 5, 6], false));
    }

    #[test]
    fn order_of_a_timeline_prevails_over_ids() {
        let mut following = Following::new(event(5).id, 9);
        following.add(Uuid::nil(), &[&lines(&[1, 5, 3]), &lines(&[4])]).expect("readable");
        following.add(Uuid::nil(), &[&lines(&[2, 6])]).expect("readable");
        let page = following.finish().expect("events");
        assert_eq!((numbers(&page), page.is_complete), (vec![3, 4, 6], true));
    }

    #[test]
    fn events_after_the_end_of_an_incomplete_part_are_left_out() {
        let skew = SignedDuration::from_millis(10);
        let mut following = Following::new(Uuid::nil(), 9);
        following.add(Uuid::nil(), &[&lines(&[5, 11, 25, 40])]).expect("readable");
        following.add_incomplete(Uuid::nil(), &lines(&[3, 20, 35]), skew).expect("readable");
        let page = following.finish().expect("events");
        assert_eq!((numbers(&page), page.is_complete), (vec![3, 5, 11, 20], false));
        // Without any known event, a longer part is needed.
        let mut following = Following::new(event(30).id, 9);
        following.add_incomplete(Uuid::nil(), &lines(&[3, 20, 35]), skew).expect("readable");
        assert_eq!(following.finish(), None);
    }

    #[test]
    fn pages_are_bounded_by_bytes() {
        let mut following = Following::new(Uuid::nil(), u32::MAX);
        let count = 3 * MAX_BYTES / 60;
        let all: Vec<u64> = (1..=count as u64).rev().collect();
        for some in all.chunks(100) {
            following.add(Uuid::nil(), &[&lines(some)]).expect("readable");
        }
        assert!(following.bytes <= MAX_BYTES);
        let page = following.finish().expect("events");
        assert!(page.events.len() > 1000 && !page.is_complete);
        assert_eq!(numbers(&page), (1..=page.events.len() as u64).collect::<Vec<_>>());
    }
}
