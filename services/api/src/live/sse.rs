//! Encoding of events as server-sent events.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use bytes::{BufMut as _, Bytes, BytesMut};
use miniapp_types::message::EventHead;
use miniapp_types::task::Event;
use uuid::Uuid;

/// The position of an event in an [`SseChunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventOffset {
    pub id: Uuid,
    /// Whether it ended the task.
    pub is_terminal: bool,
    /// Where the encoded event ends.
    pub end: usize,
}

/// Encoded events, shared by all streams that send them.
#[derive(Clone, Debug)]
pub(super) struct SseChunk {
    pub bytes: Bytes,
    pub offsets: Vec<EventOffset>,
}

impl SseChunk {
    /// Returns the encoded events.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.offsets.iter().map(move |offset| {
            let text = &self.bytes[begin..offset.end];
            begin = offset.end;
            text
        })
    }

    /// Returns a chunk of one of the events. Shares the memory.
    pub fn event(&self, index: usize) -> Self {
        let begin = index.checked_sub(1).map_or(0, |before| self.offsets[before].end);
        let offset = self.offsets[index];
        let end = offset.end - begin;
        Self {
            bytes: self.bytes.slice(begin..offset.end),
            offsets: vec![EventOffset { end, ..offset }],
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct SseEncoder {
    bytes: BytesMut,
    offsets: Vec<EventOffset>,
}

impl SseEncoder {
    /// Adds an event that is encoded as JSON. Line breaks would end the field `data`; compact
    /// JSON has none.
    pub fn push_json(&mut self, head: &EventHead, json: &str) {
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
        self.offsets.push(EventOffset { id: head.id, is_terminal, end: self.bytes.len() });
    }

    pub fn push(&mut self, event: &Event) {
        // Cannot fail: an event is plain data.
        let json = serde_json::to_string(event).unwrap_or_default();
        self.push_json(&EventHead::from(event), &json);
    }

    /// Returns the size of the encoded events.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn finish(self) -> SseChunk {
        SseChunk { bytes: self.bytes.freeze(), offsets: self.offsets }
    }
}

#[cfg(test)]
mod tests {
    use miniapp_types::task::{EventType, Status};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn events_survive_encoding(texts in proptest::collection::vec(any::<String>(), 1..5)) {
            let mut encoder = SseEncoder::default();
            let mut sent = Vec::new();
            for (index, text) in texts.iter().enumerate() {
                let id = Uuid::from_u128(index as u128);
                let head = EventHead {
                    id,
                    task_id: Uuid::nil(),
                    kind: EventType::Progress,
                    status: Status::Executing,
                };
                let data = json!({ "message": text }).to_string();
                encoder.push_json(&head, &data);
                sent.push((id, data));
            }
            let chunk = encoder.finish();
            let text = std::str::from_utf8(&chunk.bytes).expect("UTF-8");
            prop_assert_eq!(text.split("\n\n").count(), sent.len() + 1);
            for (index, ((id, data), event)) in sent.iter().zip(chunk.events()).enumerate() {
                let event = std::str::from_utf8(event).expect("UTF-8");
                let expected = format!("id: {id}\nevent: progress\ndata: {data}\n\n");
                prop_assert_eq!(event, &expected);
                prop_assert_eq!(&chunk.event(index).bytes[..], expected.as_bytes());
            }
        }
    }
}
