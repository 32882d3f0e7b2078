//! The cost of verifying an access token in the API: its own code, with the keys of a stub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use miniapp_accounts::session::FIRST_EPOCH;
use miniapp_api::token::TokenVerifier;
use miniapp_broker::{Broker, MemoryBroker, Message, Topic};
use miniapp_runtime::clock::{Clock, SystemClock, new_id};
use miniapp_token::{Claims, ISSUER, SigningKey, jwk};
use miniapp_types::account::{Jwks, Role};
use miniapp_types::message::SessionChanged;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::load::Latencies;

const SEED: [u8; 32] = [7; 32];
const KID: &str = "key";
const NEW_TOKENS: u32 = 200;
const REPETITIONS: u32 = 20_000;
/// The lifetime of tokens in seconds.
const TTL: i64 = 900;

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
pub async fn run() -> anyhow::Result<Verifications> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let broker = Arc::new(MemoryBroker::new());
    let verifier = TokenVerifier::new(&serve_auth().await?, clock.clone())?;
    let subscription = tokio::spawn({
        let (verifier, broker) = (verifier.clone(), broker.clone());
        async move { match verifier.run(broker.as_ref()).await {} }
    });
    // Fetches the key.
    verifier.health().await?;
    let key = SigningKey::new(KID, &SEED);
    let session_id = new_id(clock.as_ref());
    let mut latencies = Verifications::default();
    let mut token = String::new();
    for round in 0..=NEW_TOKENS {
        let (epoch, now) = (FIRST_EPOCH + round, clock.now());
        token = key.sign(&Claims {
            iss: ISSUER.to_owned(),
            sub: session_id,
            sid: session_id,
            epoch,
            login: "bench".to_owned(),
            roles: vec![Role::User],
            iat: now.as_second(),
            exp: now.as_second() + TTL,
            jti: new_id(clock.as_ref()),
        })?;
        let event = SessionChanged::V1 { session_id, epoch: Some(epoch), at: now, signature: None };
        let id = new_id(clock.as_ref());
        let message = Message::new(id, &key.sign_event(id, event)?);
        broker.broadcast(Topic::Sessions, message).await?;
        // Lets the verifier receive the event. If it is late, auth validates the token.
        sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        verifier.verify(&token).await?;
        if round > 0 {
            latencies.new.record(start.elapsed());
        }
    }
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        verifier.verify(&token).await?;
        latencies.known.record(start.elapsed());
    }
    subscription.abort();
    Ok(latencies)
}

/// Publishes the public key and validates every token, as auth does, and returns the URL.
async fn serve_auth() -> anyhow::Result<String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(|_| anyhow!("no key"))?;
    let jwks = Jwks { keys: vec![jwk(KID, pair.public_key().as_ref().try_into()?)] };
    let router = Router::new()
        .route("/.well-known/jwks.json", get(async move || Json(jwks)))
        .route("/validate", post(async || StatusCode::OK));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}
