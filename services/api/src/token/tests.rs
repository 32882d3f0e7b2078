//! Tokens of every kind, in every weather.

mod keys;
mod outages;
mod sessions;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::MemoryBroker;
use miniapp_runtime::clock::ManualClock;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;
use crate::testing::{FakeAuth, Token, auth, eventually};

struct World {
    check: Check,
    auth: FakeAuth,
    broker: Arc<MemoryBroker>,
    clock: Arc<ManualClock>,
    _background: JoinSet<()>,
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (clock, broker) = (Arc::new(ManualClock::default()), Arc::new(MemoryBroker::new()));
        let auth = FakeAuth::start(clock.clone(), broker.clone()).await;
        let check = Check::new(auth.url(), clock.clone()).expect("a client");
        let mut background = JoinSet::new();
        background.spawn({
            let (check, broker) = (check.clone(), broker.clone());
            async move { match check.run(broker.as_ref()).await {} }
        });
        let world = Self { check, auth, broker, clock, _background: background };
        eventually("keys are known", async || world.check.0.keys.are_known()).await;
        eventually("news are heard", async || world.check.0.sessions.hears()).await;
        world
    }

    async fn refusal(&self, token: &Token) -> Option<Refusal> {
        self.check.check(&token.text).await.err()
    }

    async fn becomes(&self, token: &Token, refusal: Option<Refusal>) {
        eventually(&format!("{refusal:?}"), async || self.refusal(token).await == refusal).await;
    }
}
