//! Tests of event streams over HTTP.

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
        let request = self.get(&format!("/api/tasks/{id}/events")).token(token);
        request.header("last-event-id", &last.to_string()).stream().await
    }

    async fn feed(&self, token: &Token) -> Events {
        self.get("/api/events").token(token).stream().await
    }

    async fn feed_after(&self, token: &Token, last: Uuid) -> Events {
        let request = self.get("/api/events").token(token);
        request.header("last-event-id", &last.to_string()).stream().await
    }

    async fn timeline(&self, token: &Token, id: Uuid) -> Vec<Event> {
        let (mut events, mut page) = (Vec::new(), Some(0));
        while let Some(next) = page {
            let part = self.tasks.timeline(token.user, id, next).await.expect("a store");
            let part = part.expect("a task");
            events.extend(part.events);
            page = part.next_page;
        }
        events
    }

    /// Submits a task and returns it with a feed that has received its `created` event.
    async fn submit_observed(&self, token: &Token) -> (Uuid, Events) {
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
