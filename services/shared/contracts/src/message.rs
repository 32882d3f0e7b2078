//! Messages between the services, each with a version of its own.
//!
//! A message is a hint, never the truth: the database decides what it still means
//! when it arrives. A new version is added beside the old ones, which stay readable
//! for as long as a queue may hold one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::task::Event;

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
}

/// A session began, got new tokens or ended. Broadcast to the API replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v", rename_all_fields = "camelCase")]
pub enum SessionChanged {
    /// The first version.
    #[serde(rename = "1")]
    V1 {
        /// The session.
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
