//! Versioned messages between the services.
//!
//! A message is a hint: the database is the source of truth when it arrives. Old versions stay
//! readable for as long as a queue may hold one.

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::name::QueueName;
use crate::task::{Event, EventType, Status};

/// A task is ready to run. Sent to one worker through a work queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum TaskReady {
    #[serde(rename = "1")]
    V1 {
        task_id: Uuid,
        /// The generation to run; a message about an older one is stale.
        generation: u32,
        /// The task's version when the message was written.
        version: u64,
        /// The queue of the task, unless it is `default`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueName>,
    },
}

/// Requests that workers stop the running attempts of tasks. Broadcast to the workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum TaskCancels {
    #[serde(rename = "1")]
    V1 { task_ids: Vec<Uuid> },
}

/// A batch of task events. Broadcast to the API replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum TaskEvents {
    #[serde(rename = "1")]
    V1 {
        /// In the order of their commit.
        events: Vec<OwnedEvent>,
    },
}

/// An event with the owner of its task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnedEvent {
    pub user_id: Uuid,
    pub event: Event,
    /// Absent if the trace is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<EventTrace>,
}

/// The origin of an event, for the spans of its delivery to streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTrace {
    /// The trace context of the task.
    pub traceparent: Box<str>,
    /// By the clock of the machine that committed it.
    pub committed_at: Timestamp,
}

/// [`TaskEvents`] for forwarding: each event stays raw JSON, which is what clients get.
#[derive(Clone, Debug, Deserialize)]
pub struct RawTaskEvents<'a> {
    #[serde(rename = "v")]
    version: &'a str,
    /// In the order of their commit.
    #[serde(borrow)]
    pub events: Vec<RawOwnedEvent<'a>>,
}

/// An event as raw JSON with the owner of its task.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawOwnedEvent<'a> {
    pub user_id: Uuid,
    #[serde(borrow)]
    pub event: &'a RawValue,
    #[serde(default)]
    pub trace: Option<EventTrace>,
}

/// The part of an [`Event`] that routes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventHead {
    pub id: Uuid,
    pub task_id: Uuid,
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The status after the event.
    pub status: Status,
}

impl<'a> RawTaskEvents<'a> {
    /// Parses a message of a known version.
    pub fn read(body: &'a [u8]) -> serde_json::Result<Self> {
        let read: Self = serde_json::from_slice(body)?;
        match read.version {
            "1" => Ok(read),
            _ => Err(serde_json::Error::custom("unknown version")),
        }
    }
}

impl RawOwnedEvent<'_> {
    /// Parses the part that routes the event.
    pub fn head(&self) -> serde_json::Result<EventHead> {
        serde_json::from_str(self.event.get())
    }
}

impl From<&Event> for EventHead {
    fn from(event: &Event) -> Self {
        Self { id: event.id, task_id: event.task_id, kind: event.kind, status: event.status }
    }
}

/// A session started, got new tokens or ended, or an API key has to be checked again or was
/// revoked. Broadcast to the API replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum SessionChanged {
    #[serde(rename = "1")]
    V1 {
        /// The session or the API key. Nil if it may be any, because changes may have been lost.
        session_id: Uuid,
        /// The epoch of its only valid access token, or of the key. `None` if it has ended. It only
        /// grows, so messages may arrive in any order.
        epoch: Option<u32>,
        /// When it was current, by the clock of the issuer of tokens.
        at: Timestamp,
        /// The signature of the issuer of tokens. Releases before signatures have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
}

/// An account is deleted, so its tasks must be. Sent through the queue `account-deletions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum AccountDeleted {
    #[serde(rename = "1")]
    V1 {
        user_id: Uuid,
        /// The signature of the issuer of tokens. Releases before signatures have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_events_keep_their_json() {
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
        let forwarded: Event = serde_json::from_str(raw.events[0].event.get()).expect("an event");
        assert_eq!(forwarded, event);
        assert!(RawTaskEvents::read(br#"{"v":"2","events":[]}"#).is_err());
    }
}
