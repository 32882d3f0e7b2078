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
    /// How often it has come back from the dead letters.
    pub returns: u32,
}

impl Message {
    /// Wraps `body`, which must be one of [`miniapp_types::message`]'s types: those are
    /// plain data whose serialization can't fail.
    pub fn new<T: Serialize>(id: Uuid, body: &T) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default().into();
        let trace = TraceContext::default();
        Self { id, conversation: None, body, trace, published_at: None, returns: 0 }
    }

    /// Says what the message is about.
    #[must_use]
    pub fn about(mut self, conversation: Uuid) -> Self {
        self.conversation = Some(conversation);
        self
    }

    /// Puts the message into a trace.
    #[must_use]
    pub fn in_trace(mut self, trace: TraceContext) -> Self {
        self.trace = trace;
        self
    }

    /// Reads the body; fails where the message isn't ours or of a version unknown here.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}
