//! The envelope.

use bytes::Bytes;
use jiff::Timestamp;
use miniapp_types::trace::TraceContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A message with what is needed to follow it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its own id; a copy of the same message keeps it. Nil where it isn't one of ours.
    pub id: Uuid,
    /// What it is about (a task, a session), the same for all messages about that.
    pub conversation: Option<Uuid>,
    /// JSON of one of [`miniapp_types::message`]'s types.
    pub body: Bytes,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// When it went out, by the clock of its publisher's machine; known where its trace is
    /// recorded.
    pub published_at: Option<Timestamp>,
    /// How often it was moved from the dead letters back to its queue.
    pub redrive_count: u32,
}

impl Message {
    /// Wraps `body`, which must be one of [`miniapp_types::message`]'s types: those are
    /// plain data whose serialization can't fail.
    pub fn new<T: Serialize>(id: Uuid, body: &T) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default().into();
        let trace = TraceContext::default();
        Self { id, conversation: None, body, trace, published_at: None, redrive_count: 0 }
    }

    /// Sets what the message is about.
    #[must_use]
    pub fn with_conversation(mut self, conversation: Uuid) -> Self {
        self.conversation = Some(conversation);
        self
    }

    /// Sets the trace that the message belongs to.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = trace;
        self
    }

    /// Parses the body. Fails for foreign messages and unknown versions.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}
