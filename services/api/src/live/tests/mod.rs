//! Streams, as clients see them.

mod clients;
mod gaps;
mod timeline;

use miniapp_types::task::Event;
use miniapp_types::task::EventType::{self, Created};
use uuid::Uuid;

use crate::testing::{Events, Platform, Token};

async fn start() -> (Platform, Token) {
    let platform = Platform::start().await;
    let token = platform.auth.sign_in();
    (platform, token)
}

impl Platform {
    async fn watch(&self, token: &Token, id: Uuid) -> Events {
        self.get(&format!("/api/tasks/{id}/events")).token(token).stream().await
    }

    async fn watch_after(&self, token: &Token, id: Uuid, last: Uuid) -> Events {
        let asking = self.get(&format!("/api/tasks/{id}/events")).token(token);
        asking.header("last-event-id", &last.to_string()).stream().await
    }

    async fn feed(&self, token: &Token) -> Events {
        self.get("/api/events").token(token).stream().await
    }

    async fn feed_after(&self, token: &Token, last: Uuid) -> Events {
        let asking = self.get("/api/events").token(token);
        asking.header("last-event-id", &last.to_string()).stream().await
    }

    async fn timeline(&self, token: &Token, id: Uuid) -> Vec<Event> {
        self.tasks.timeline(token.user, id).await.expect("a store").expect("a task")
    }

    /// A waiting task, and the feed that has told of it: no word of it is on its way.
    async fn told_of(&self, token: &Token) -> (Uuid, Events) {
        let mut feed = self.feed(token).await;
        let id = self.submit(token).await;
        assert_eq!(feed.kinds(1).await, [Created]);
        (id, feed)
    }

    async fn run_to_its_end(&self, token: &Token) -> Uuid {
        let id = self.submit(token).await;
        self.finish(token, id).await;
        id
    }
}

fn kinds(events: &[Event]) -> Vec<EventType> {
    events.iter().map(|event| event.kind).collect()
}
