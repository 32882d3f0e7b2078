//! How a timeline is kept: one JSON array a line, so that adding an event is appending a
//! line, and people can read it in the database.

use jiff::Timestamp;
use miniapp_types::task::{Event, EventType, Status};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::engine::StoreError;

/// An event without its task: id, microseconds since 1970, type, status, message,
/// progress, attempt, worker.
#[derive(Serialize, Deserialize)]
struct Line<S>(Uuid, i64, EventType, Status, Option<S>, f64, u32, Option<S>);

/// The lines of `events`, each ended by a newline.
pub(crate) fn lines(events: &[Event]) -> String {
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
        // Plain data into memory: neither can fail.
        let _ = serde_json::to_writer(&mut lines, &line);
        lines.push(b'\n');
    }
    String::from_utf8(lines).unwrap_or_default()
}

/// The events of the task `task_id` that `lines` tell.
pub(crate) fn events(
    task_id: Uuid,
    lines: &str,
) -> impl Iterator<Item = Result<Event, StoreError>> {
    lines.lines().map(move |line| {
        let broken = |error: &dyn std::fmt::Display| {
            StoreError::Internal(format!("the timeline of task {task_id}: {error}"))
        };
        let Line(id, at, kind, status, message, progress, attempt, worker) =
            serde_json::from_str::<Line<String>>(line).map_err(|error| broken(&error))?;
        let at = Timestamp::from_microsecond(at).map_err(|error| broken(&error))?;
        Ok(Event { id, task_id, at, kind, status, message, progress, attempt, worker })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_being_kept() {
        let event = Event {
            id: Uuid::from_u128(7),
            task_id: Uuid::from_u128(8),
            at: Timestamp::from_microsecond(1_700_000_000_123_456).expect("in range"),
            kind: EventType::LeaseLost,
            status: Status::Awaiting,
            message: Some("two\nlines \"quoted\" \u{1F980}".into()),
            progress: 0.5,
            attempt: 2,
            worker: None,
        };
        let kept = lines(&[event.clone(), event.clone()]);
        assert_eq!(kept.lines().count(), 2);
        let read: Result<Vec<Event>, _> = events(event.task_id, &kept).collect();
        assert_eq!(read.expect("readable"), [event.clone(), event]);
    }

    #[test]
    fn a_broken_line_is_told() {
        assert!(events(Uuid::nil(), "[1,2]\n").all(|event| event.is_err()));
    }
}
