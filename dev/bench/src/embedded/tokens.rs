//! The cost of verifying an access token in the API: its own code, on real tokens.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use miniapp_accounts::session::FIRST_EPOCH;
use miniapp_api::token::TokenVerifier;
use miniapp_broker::{Broker, MemoryBroker, Message, Topic};
use miniapp_client::{Client, Session};
use miniapp_runtime::clock::{Clock, SystemClock, new_id};
use miniapp_types::message::SessionChanged;

use crate::load::Latencies;

const NEW_TOKENS: u32 = 200;
const REPETITIONS: u32 = 20_000;

/// Latencies of verifications.
#[derive(Debug, Default)]
pub struct Verifications {
    /// Of tokens that the verifier has not seen before.
    pub new: Latencies,
    /// Of a token that it has cached.
    pub known: Latencies,
}

/// Verifies the tokens of a session one after the other. Publishes the session's changes
/// to the verifier as auth does, so that no verification needs a request to auth.
pub async fn run(client: &Client) -> anyhow::Result<Verifications> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let broker = Arc::new(MemoryBroker::new());
    let auth = client.auth_url().as_str().trim_end_matches('/');
    let verifier = TokenVerifier::new(auth, clock.clone())?;
    let subscription = tokio::spawn({
        let (verifier, broker) = (verifier.clone(), broker.clone());
        async move { match verifier.run(broker.as_ref()).await {} }
    });
    let session_id = client.token_info().await?.session_id;
    let mut latencies = Verifications::default();
    for round in 0..=NEW_TOKENS {
        if round > 0 {
            client.refresh().await?;
        }
        let epoch = Some(FIRST_EPOCH + round);
        let event = SessionChanged::V1 { session_id, epoch, at: clock.now() };
        let message = Message::new(new_id(clock.as_ref()), &event);
        broker.broadcast(Topic::Sessions, message).await?;
        // Lets the verifier receive the event.
        tokio::task::yield_now().await;
        let session = session(client)?;
        let start = Instant::now();
        verifier.verify(session.access_token.expose()).await?;
        // The first round fetches the keys.
        if round > 0 {
            latencies.new.record(start.elapsed());
        }
    }
    let session = session(client)?;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        verifier.verify(session.access_token.expose()).await?;
        latencies.known.record(start.elapsed());
    }
    subscription.abort();
    Ok(latencies)
}

fn session(client: &Client) -> anyhow::Result<Session> {
    client.session().context("not signed in")
}
