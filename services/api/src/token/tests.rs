//! Tests of the token verifier against a fake auth service.

mod api_keys;
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

async fn start_verifier(
    auth: &FakeAuth,
    broker: &Arc<MemoryBroker>,
    clock: &Arc<ManualClock>,
) -> (TokenVerifier, JoinSet<()>) {
    let verifier = TokenVerifier::new(auth.url(), clock.clone()).expect("a client");
    let mut background = JoinSet::new();
    background.spawn({
        let (verifier, broker) = (verifier.clone(), broker.clone());
        async move { match verifier.run(broker.as_ref()).await {} }
    });
    eventually("keys are known", async || verifier.0.keys.are_known()).await;
    eventually("broadcasts are received", async || verifier.0.sessions.is_receiving()).await;
    (verifier, background)
}

struct World {
    verifier: TokenVerifier,
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
        let (verifier, background) = start_verifier(&auth, &broker, &clock).await;
        Self { verifier, auth, broker, clock, _background: background }
    }

    /// Starts another verifier.
    async fn start_verifier(&self) -> (TokenVerifier, JoinSet<()>) {
        start_verifier(&self.auth, &self.broker, &self.clock).await
    }

    async fn key_error(&self, key: &Token) -> Option<VerifyError> {
        self.verifier.verify_api_key(&key.text, None).await.err()
    }

    async fn wait_for_key(&self, key: &Token, error: Option<VerifyError>) {
        eventually(&format!("{error:?}"), async || self.key_error(key).await == error).await;
    }

    async fn error(&self, token: &Token) -> Option<VerifyError> {
        self.verifier.verify(&token.text).await.err()
    }

    async fn wait_for(&self, token: &Token, error: Option<VerifyError>) {
        eventually(&format!("{error:?}"), async || self.error(token).await == error).await;
    }
}
