//! The stored form of a timeline: one JSON array per line.
//!
//! Appending an event is appending a line, and the column stays readable for people.

use jiff::Timestamp;
use miniapp_types::task::{Event, EventType, Status};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::engine::StoreError;

/// An event without its task: id, microseconds since 1970, type, status, message,
/// progress, attempt, worker.
#[derive(Serialize, Deserialize)]
struct Line<S>(Uuid, i64, EventType, Status, Option<S>, f64, u32, Option<S>);

/// Encodes `events`, each as a line that ends with a newline.
pub(crate) fn encode(events: &[Event]) -> String {
    let mut lines = Vec::with_capacity(128 * events.len());
    for event in events {
        let line = Line(
            event.id,
            event.at.as_microsecond(),
            event.kind,
            event.status,
            event.message.as_deref(),
            event.progress,
            event.attempt,
            event.worker.as_deref(),
        );
        // Serializing plain data into memory cannot fail.
        let _ = serde_json::to_writer(&mut lines, &line);
        lines.push(b'\n');
    }
    String::from_utf8(lines).unwrap_or_default()
}

/// Decodes the events of the task `task_id`.
pub(crate) fn decode(
    task_id: Uuid,
    lines: &str,
) -> impl Iterator<Item = Result<Event, StoreError>> {
    lines.lines().map(move |line| {
        let invalid = |error: &dyn std::fmt::Display| {
            StoreError::Internal(format!("the timeline of task {task_id}: {error}"))
        };
        let Line(id, at, kind, status, message, progress, attempt, worker) =
            serde_json::from_str::<Line<String>>(line).map_err(|error| invalid(&error))?;
        let at = Timestamp::from_microsecond(at).map_err(|error| invalid(&error))?;
        Ok(Event { id, task_id, at, kind, status, message, progress, attempt, worker })
    })
}

/// Returns the id of the event in `line` without decoding the rest.
pub(crate) fn id_of(line: &str) -> Option<Uuid> {
    Uuid::try_parse(line.get(2..38)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use strum::IntoEnumIterator as _;

    use super::*;

    fn event() -> impl Strategy<Value = Event> {
        let kinds: Vec<EventType> = EventType::iter().collect();
        let statuses = [
            Status::Awaiting,
            Status::Executing,
            Status::Finished,
            Status::Canceled,
            Status::Failed,
        ];
        let at = 0..4_000_000_000_000_000_i64;
        let text = || option::of(any::<String>());
        let fields = (any::<u128>(), at, prop::sample::select(kinds));
        // Fractions of 1000, because serde_json may parse longer numbers with an error of one
        // unit in the last place.
        let progress = (0..=1000_u32).prop_map(|thousandths| f64::from(thousandths) / 1000.0);
        let rest = (prop::sample::select(statuses.to_vec()), text(), progress, any::<u32>());
        (fields, rest, text()).prop_map(|((id, at, kind), rest, worker)| {
            let (status, message, progress, attempt) = rest;
            Event {
                id: Uuid::from_u128(id),
                task_id: Uuid::from_u128(8),
                at: Timestamp::from_microsecond(at).expect("in range"),
                kind,
                status,
                message,
                progress,
                attempt,
                worker,
            }
        })
    }

    proptest! {
        #[test]
        fn decode_returns_the_encoded_events(events in prop::collection::vec(event(), 0..5)) {
            let lines = encode(&events);
            prop_assert_eq!(lines.matches('\n').count(), events.len());
            let ids: Vec<_> = lines.lines().map(id_of).collect();
            prop_assert_eq!(ids, events.iter().map(|event| Some(event.id)).collect::<Vec<_>>());
            let decoded: Result<Vec<Event>, _> = decode(Uuid::from_u128(8), &lines).collect();
            prop_assert_eq!(decoded.expect("readable"), events);
        }

        #[test]
        fn decode_returns_an_event_or_error_per_line_of_arbitrary_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let text = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(decode(Uuid::nil(), &text).count(), text.lines().count());
        }

        #[test]
        fn decode_survives_a_damaged_line(event in event(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode(&[event]).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let text = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(decode(Uuid::nil(), &text).count(), text.lines().count());
        }
    }

    #[test]
    fn decode_rejects_short_lines_and_empty_lines() {
        assert!(decode(Uuid::nil(), "[1,2]\n").all(|event| event.is_err()));
        assert!(decode(Uuid::nil(), "\n").all(|event| event.is_err()));
    }
}
