//! What the check of an access token costs the API: its own code, on real tokens.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use miniapp_accounts::FIRST_EPOCH;
use miniapp_api::token::TokenVerifier;
use miniapp_broker::{Broker, MemoryBroker, Message, Topic};
use miniapp_client::Client;
use miniapp_runtime::clock::{Clock, SystemClock, new_id};
use miniapp_types::message::SessionChanged;

use super::load::Times;

const FRESH: u32 = 200;
const SEEN: u32 = 20_000;

/// How long checks took.
#[derive(Debug, Default)]
pub struct Checks {
    /// Of tokens that came for the first time.
    pub fresh: Times,
    /// Of one that came before.
    pub seen: Times,
}

/// Checks one token after the other of the session that `client` has just begun. The
/// news that auth tells the API are told here, so that no check has to ask.
pub async fn run(client: &Client) -> anyhow::Result<Checks> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let broker = Arc::new(MemoryBroker::new());
    let auth = client.auth_url().as_str().trim_end_matches('/');
    let verifier = TokenVerifier::new(auth, clock.clone())?;
    let following = tokio::spawn({
        let (verifier, broker) = (verifier.clone(), broker.clone());
        async move { match verifier.run(broker.as_ref()).await {} }
    });
    let session_id = client.token_info().await?.session_id;
    let mut checks = Checks::default();
    for round in 0..=FRESH {
        if round > 0 {
            client.refresh().await?;
        }
        let session = client.session().context("nobody is signed in")?;
        let epoch = Some(FIRST_EPOCH + round);
        let news = SessionChanged::V1 { session_id, epoch, at: clock.now() };
        let message = Message::new(new_id(clock.as_ref()), &news);
        broker.broadcast(Topic::Sessions, message).await?;
        // The news have to arrive, as they have before anybody uses a token.
        tokio::task::yield_now().await;
        let token = session.access_token.expose();
        let begin = Instant::now();
        verifier.verify(token).await?;
        // The first one fetches the keys and finds cold caches.
        if round > 0 {
            checks.fresh.record(begin.elapsed());
        }
    }
    let session = client.session().context("nobody is signed in")?;
    for _ in 0..SEEN {
        let begin = Instant::now();
        verifier.verify(session.access_token.expose()).await?;
        checks.seen.record(begin.elapsed());
    }
    following.abort();
    Ok(checks)
}
