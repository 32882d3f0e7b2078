//! A client for event streams.

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use miniapp_types::task::{Event, EventType};
use uuid::Uuid;

use super::{TIMEOUT, documentation};

pub(crate) struct Events {
    body: BodyDataStream,
    /// What was received and not returned yet.
    pub text: String,
    /// The number of frames received.
    pub frames: usize,
}

impl Events {
    pub fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), text: String::new(), frames: 0 }
    }

    /// Returns the next event, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let event = parsed(message);
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let frame = self.read().await?;
            self.text += &frame;
        }
    }

    /// Returns the next frame.
    pub async fn frame(&mut self) -> String {
        self.read().await.expect("a frame")
    }

    async fn read(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(TIMEOUT, self.body.next()).await;
        let frame = frame.expect("an event in time")?.expect("a frame");
        self.frames += 1;
        Some(String::from_utf8(frame.to_vec()).expect("whole characters"))
    }

    /// Returns the types of the next `count` events.
    pub async fn kinds(&mut self, count: usize) -> Vec<EventType> {
        let mut kinds = Vec::new();
        for _ in 0..count {
            kinds.push(self.next().await.expect("an event").kind);
        }
        kinds
    }

    /// Returns the remaining events.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// Parses a message in the documented format; `None` for comments and `retry`.
fn parsed(message: &str) -> Option<Event> {
    let lines: Vec<(&str, &str)> =
        message.lines().map(|line| line.split_once(':').expect("a field")).collect();
    match lines[..] {
        [("id", id), ("event", kind), ("data", data)] => {
            let event: Event = serde_json::from_str(data).expect("an event");
            assert_eq!(id.trim().parse(), Ok::<Uuid, _>(event.id));
            assert_eq!(kind.trim(), event.kind.to_string());
            documentation::assert_event(message);
            Some(event)
        }
        [("retry", _) | ("", "")] => None,
        _ => panic!("unexpected: {message}"),
    }
}
