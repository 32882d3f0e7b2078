//! Reading a stream of events.

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use miniapp_types::task::{Event, EventType};
use uuid::Uuid;

use super::LIMIT;

pub(crate) struct Events {
    body: BodyDataStream,
    text: String,
    /// How many pieces came.
    pub pieces: usize,
}

impl Events {
    pub fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), text: String::new(), pieces: 0 }
    }

    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let event = parsed(message);
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let piece = self.read().await?;
            self.text += &piece;
        }
    }

    /// What comes in one piece.
    pub async fn piece(&mut self) -> String {
        self.read().await.expect("a piece")
    }

    async fn read(&mut self) -> Option<String> {
        let piece = tokio::time::timeout(LIMIT, self.body.next()).await;
        let piece = piece.expect("an event in time")?.expect("a piece");
        self.pieces += 1;
        Some(String::from_utf8(piece.to_vec()).expect("whole characters"))
    }

    /// The kinds of the next `count` events.
    pub async fn kinds(&mut self, count: usize) -> Vec<EventType> {
        let mut kinds = Vec::new();
        for _ in 0..count {
            kinds.push(self.next().await.expect("an event").kind);
        }
        kinds
    }

    /// All that is left.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// The event of a message, which has to look as promised; `None` for what isn't one.
fn parsed(message: &str) -> Option<Event> {
    let lines: Vec<(&str, &str)> =
        message.lines().map(|line| line.split_once(':').expect("a field")).collect();
    match lines[..] {
        [("id", id), ("event", kind), ("data", data)] => {
            let event: Event = serde_json::from_str(data).expect("an event");
            assert_eq!(id.trim().parse(), Ok::<Uuid, _>(event.id));
            assert_eq!(kind.trim(), event.kind.to_string());
            Some(event)
        }
        [("retry", _) | ("", "")] => None,
        _ => panic!("unexpected: {message}"),
    }
}
