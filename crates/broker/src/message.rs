//! The message envelope.

use bytes::Bytes;
use jiff::Timestamp;
use miniapp_types::trace::TraceContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A message with its identity and trace context.
#[derive(Clone, Debug)]
pub struct Message {
    /// Redeliveries keep the id. Nil for foreign messages without one.
    pub id: Uuid,
    /// The task, session or account that the message is about.
    pub conversation: Option<Uuid>,
    /// One of the types of [`miniapp_types::message`] as JSON.
    pub body: Bytes,
    pub trace: TraceContext,
    /// When it was published, by the publisher's clock. Set only if its trace is recorded.
    pub published_at: Option<Timestamp>,
    /// How often it was moved from the dead letters back to its queue.
    pub redrive_count: u32,
}

impl Message {
    /// Creates a message with `body`, one of the types of [`miniapp_types::message`]: plain
    /// data, whose serialization does not fail.
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
