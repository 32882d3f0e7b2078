//! Server-sent events, read from bytes as they arrive.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

use std::mem;

/// One message of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseMessage {
    /// The newest id that the stream has named, if any.
    pub id: Option<String>,
    /// The message's type; empty where the stream doesn't name it.
    pub event: String,
    /// The data, its lines joined by a line feed.
    pub data: String,
}

/// Cuts a stream into messages, however the bytes are split.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    after_return: bool,
    first_line_seen: bool,
    last_id: Option<String>,
    event: String,
    data: Option<String>,
}

impl SseParser {
    /// Takes the next bytes and gives the messages that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<SseMessage> {
        let mut messages = Vec::new();
        for &byte in bytes {
            match byte {
                // The second half of a CRLF.
                b'\n' if mem::take(&mut self.after_return) => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    messages.extend(self.end_line());
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                }
            }
        }
        messages
    }

    fn end_line(&mut self) -> Option<SseMessage> {
        let bytes = mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let mut line = text.as_ref();
        if !mem::replace(&mut self.first_line_seen, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            // A comment (the server's sign of life), `retry`, or a field to come.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseMessage> {
        let event = mem::take(&mut self.event);
        let data = self.data.take()?;
        Some(SseMessage { id: self.last_id.clone(), event, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: Option<&str>, event: &str, data: &str) -> SseMessage {
        SseMessage { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn messages_are_cut_as_the_standard_says() {
        let cases: [(&str, Vec<SseMessage>); 9] = [
            ("data: a\n\n", vec![message(None, "", "a")]),
            ("data:a\n\n", vec![message(None, "", "a")]),
            ("data:  a\n\n", vec![message(None, "", " a")]),
            ("event: e\ndata: a\ndata: b\n\n", vec![message(None, "e", "a\nb")]),
            (": hello\n\nid: 1\ndata\n\n", vec![message(Some("1"), "", "")]),
            (
                "\u{feff}data: a\r\n\r\ndata: b\r\r",
                vec![message(None, "", "a"), message(None, "", "b")],
            ),
            (
                "id: 1\ndata: a\n\ndata: b\n\n",
                vec![message(Some("1"), "", "a"), message(Some("1"), "", "b")],
            ),
            ("event: lost\n\ndata: a\n\n", vec![message(None, "", "a")]),
            ("data: unfinished\n", vec![]),
        ];
        for (stream, expected) in cases {
            assert_eq!(SseParser::default().feed(stream.as_bytes()), expected, "{stream:?}");
        }
    }

    #[test]
    fn bytes_may_be_split_anywhere() {
        let stream = "id: 7\r\nevent: progress\r\ndata: \u{fc}\r\n\r\n: ping\r\n\r\ndata: end\n\n";
        let whole = SseParser::default().feed(stream.as_bytes());
        assert_eq!(whole.len(), 2);
        for at in 0..stream.len() {
            let (head, tail) = stream.as_bytes().split_at(at);
            let mut parser = SseParser::default();
            let mut messages = parser.feed(head);
            messages.extend(parser.feed(tail));
            assert_eq!(messages, whole, "split at {at}");
        }
    }
}
