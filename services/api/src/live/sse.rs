//! Events in the form in which they go to clients.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use bytes::{BufMut as _, Bytes, BytesMut};
use miniapp_types::message::EventHead;
use miniapp_types::task::Event;
use uuid::Uuid;

/// An event's place in a [`Chunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The event.
    pub id: Uuid,
    /// Whether nothing happens to the task after it, unless it is restarted.
    pub is_terminal: bool,
    /// Where its text ends.
    pub end: usize,
}

/// Written events.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub bytes: Bytes,
    pub marks: Vec<Mark>,
}

impl Chunk {
    /// The texts of the events.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.marks.iter().map(move |mark| {
            let text = &self.bytes[begin..mark.end];
            begin = mark.end;
            text
        })
    }

    /// One of the events by itself.
    pub fn event(&self, index: usize) -> Self {
        let begin = index.checked_sub(1).map_or(0, |before| self.marks[before].end);
        let mark = self.marks[index];
        let end = mark.end - begin;
        Self { bytes: self.bytes.slice(begin..mark.end), marks: vec![Mark { end, ..mark }] }
    }
}

/// Writes a chunk.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: BytesMut,
    marks: Vec<Mark>,
}

impl Writer {
    /// Adds an event that is JSON already; compact, as everything here writes it, it has
    /// no line breaks.
    pub fn push(&mut self, head: &EventHead, json: &str) {
        const FIELDS: usize = "id: ".len() + 36 + "\nevent: ".len() + 16 + "\ndata: ".len() + 2;
        self.bytes.reserve(FIELDS + json.len());
        self.bytes.put_slice(b"id: ");
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        self.bytes.put_slice(head.id.hyphenated().encode_lower(&mut id).as_bytes());
        self.bytes.put_slice(b"\nevent: ");
        self.bytes.put_slice(<&str>::from(head.kind).as_bytes());
        self.bytes.put_slice(b"\ndata: ");
        self.bytes.put_slice(json.as_bytes());
        self.bytes.put_slice(b"\n\n");
        let is_terminal = head.status.is_terminal();
        self.marks.push(Mark { id: head.id, is_terminal, end: self.bytes.len() });
    }

    /// Adds an event.
    pub fn push_event(&mut self, event: &Event) {
        // Plain data: there is nothing in it that JSON can't say.
        let json = serde_json::to_string(event).unwrap_or_default();
        self.push(&EventHead::from(event), &json);
    }

    /// The number of events in it.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// What was written.
    pub fn finish(self) -> Chunk {
        Chunk { bytes: self.bytes.freeze(), marks: self.marks }
    }
}
