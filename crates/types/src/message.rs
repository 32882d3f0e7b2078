//! Messages between the services, each with a version of its own.
//!
//! A message is a hint, never the truth: the database decides what it still means
//! when it arrives. A new version is added beside the old ones, which stay readable
//! for as long as a queue may hold one.

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::task::{Event, EventType, Status};

/// A task waits to be run. Goes to the `tasks` queue, to one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum TaskReady {
    /// The first version.
    #[serde(rename = "1")]
    V1 {
        /// The task.
        task_id: Uuid,
        /// The generation that is to run; a message about an older one is stale.
        generation: u32,
        /// The task's version when the message was written.
        version: u64,
    },
}

/// Running attempts of these tasks are to stop. Broadcast to the workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum TaskCancels {
    /// The first version.
    #[serde(rename = "1")]
    V1 {
        /// The tasks whose attempts are to stop.
        task_ids: Vec<Uuid>,
    },
}

/// What happened to tasks. Broadcast to the API replicas, many at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum TaskEvents {
    /// The first version.
    #[serde(rename = "1")]
    V1 {
        /// The events in the order of their commit.
        events: Vec<OwnedEvent>,
    },
}

/// An event and whose task it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnedEvent {
    /// The task's owner.
    pub user_id: Uuid,
    /// The event as its owner sees it.
    pub event: Event,
    /// Where in a trace it happened; absent where that isn't recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<EventTrace>,
}

/// What a trace needs to know of an event to show how it got to those who watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTrace {
    /// The context of the task.
    pub traceparent: Box<str>,
    /// When it was committed, by the clock of the machine that did it.
    pub committed_at: Timestamp,
}

/// [`TaskEvents`] read for passing them on: each event stays the JSON that it came as,
/// which is what clients get.
#[derive(Clone, Debug, Deserialize)]
pub struct RawTaskEvents<'a> {
    #[serde(rename = "v")]
    version: &'a str,
    /// The events in the order of their commit.
    #[serde(borrow)]
    pub events: Vec<RawOwnedEvent<'a>>,
}

/// An event as JSON, and whose task it is about.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawOwnedEvent<'a> {
    /// The task's owner.
    pub user_id: Uuid,
    /// The event as its owner sees it.
    #[serde(borrow)]
    pub event: &'a RawValue,
    /// Where in a trace it happened.
    #[serde(default)]
    pub trace: Option<EventTrace>,
}

/// What of an [`Event`] decides where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventHead {
    /// The event's id.
    pub id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The status after it.
    pub status: Status,
}

impl<'a> RawTaskEvents<'a> {
    /// Reads a message; fails where it isn't one, or of a version unknown here.
    pub fn read(body: &'a [u8]) -> serde_json::Result<Self> {
        let read: Self = serde_json::from_slice(body)?;
        match read.version {
            "1" => Ok(read),
            _ => Err(serde_json::Error::custom("a version that isn't known here")),
        }
    }
}

impl RawOwnedEvent<'_> {
    /// Reads what decides where the event goes.
    pub fn head(&self) -> serde_json::Result<EventHead> {
        serde_json::from_str(self.event.get())
    }
}

impl From<&Event> for EventHead {
    fn from(event: &Event) -> Self {
        Self { id: event.id, task_id: event.task_id, kind: event.kind, status: event.status }
    }
}

/// A session began, got new tokens or ended. Broadcast to the API replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum SessionChanged {
    /// The first version.
    #[serde(rename = "1")]
    V1 {
        /// The session. Nil where it could be any: changes may have gone untold.
        session_id: Uuid,
        /// The epoch of its only valid access token; it only grows, so that messages
        /// may arrive in any order. `None`: the session has ended.
        epoch: Option<u32>,
        /// When it happened, by auth's clock.
        at: Timestamp,
    },
}

/// An account is gone, its tasks go too. Goes to the `account-deletions` queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum AccountDeleted {
    /// The first version.
    #[serde(rename = "1")]
    V1 {
        /// The account.
        user_id: Uuid,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_can_be_passed_on_as_they_came() {
        let event = Event {
            id: Uuid::from_u128(1),
            task_id: Uuid::from_u128(2),
            at: Timestamp::UNIX_EPOCH,
            kind: EventType::LeaseLost,
            status: Status::Awaiting,
            message: Some("a \"b\"\n".into()),
            progress: 0.5,
            attempt: 1,
            worker: None,
        };
        let trace = EventTrace {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            committed_at: Timestamp::UNIX_EPOCH,
        };
        let owned = OwnedEvent {
            user_id: Uuid::from_u128(3),
            event: event.clone(),
            trace: Some(trace.clone()),
        };
        let message = serde_json::to_vec(&TaskEvents::V1 { events: vec![owned] });
        let message = message.expect("plain data");
        let raw = RawTaskEvents::read(&message).expect("readable");
        assert_eq!(raw.events.len(), 1);
        assert_eq!(raw.events[0].user_id, Uuid::from_u128(3));
        assert_eq!(raw.events[0].trace, Some(trace));
        assert_eq!(raw.events[0].head().expect("a head"), EventHead::from(&event));
        let passed_on: Event = serde_json::from_str(raw.events[0].event.get()).expect("an event");
        assert_eq!(passed_on, event);
        assert!(RawTaskEvents::read(br#"{"v":"2","events":[]}"#).is_err());
    }
}
