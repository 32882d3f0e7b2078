//! Measures the verification of tokens and API keys:
//! `cargo run --release -p miniapp-api --example token_check`.
//!
//! A stub publishes the signing key, and broadcasts announce the sessions. So only the verification
//! itself is measured. The first verification of a key includes a request to the stub, whose time is
//! measured separately.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use axum::routing::{get, post};
use axum::{Json, Router};
use miniapp_api::token::TokenVerifier;
use miniapp_broker::{Broker, MemoryBroker, Message, Topic};
use miniapp_runtime::clock::{Clock, SystemClock, new_id};
use miniapp_token::{Claims, ISSUER, SigningKey, generate_api_key, jwk};
use miniapp_types::account::{ApiKeyInfo, Jwks, Role, Scope, TokenInfo};
use miniapp_types::message::SessionChanged;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tokio::net::TcpListener;
use uuid::Uuid;

const SEED: [u8; 32] = [7; 32];
const TOKENS: u32 = 500;
const ROUNDS: u32 = 200;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // Fails if there is a default provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let auth = publish().await?;
    let key = SigningKey::new("key", &SEED);
    let (clock, broker) = (Arc::new(SystemClock), Arc::new(MemoryBroker::new()));
    let verifier = TokenVerifier::new(&auth, clock.clone())?;
    tokio::spawn({
        let (verifier, broker) = (verifier.clone(), broker.clone());
        async move { match verifier.run(broker.as_ref()).await {} }
    });
    // Waits for the keys.
    tokio::time::sleep(Duration::from_millis(500)).await;
    verifier.health().await?;

    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        let session = new_id(clock.as_ref());
        tokens.push(sign(&key, session, clock.as_ref())?);
        let at = clock.now();
        let change =
            SessionChanged::V1 { session_id: session, epoch: Some(1), at, signature: None };
        let change = key.sign_event(session, change)?;
        broker.broadcast(Topic::Sessions, Message::new(session, &change)).await?;
        tokio::task::yield_now().await;
    }
    let first = time(&verifier, &tokens, 1).await?;
    let again = time(&verifier, &tokens, ROUNDS).await?;
    println!("a new token:        {first:>9.2?}");
    println!("a token seen before: {again:>8.2?}");

    let keys = (0..TOKENS).map(|_| Ok(generate_api_key()?.expose().to_owned()));
    let keys = keys.collect::<anyhow::Result<Vec<String>>>()?;
    let request = time_requests(&auth).await?;
    let first = time_keys(&verifier, &keys, 1).await?;
    let again = time_keys(&verifier, &keys, ROUNDS).await?;
    println!("a request to auth:   {request:>8.2?}");
    println!("a new key:           {first:>8.2?}, the request included");
    println!("a key seen before:   {again:>8.2?}");
    Ok(())
}

async fn time_keys(
    verifier: &TokenVerifier,
    keys: &[String],
    rounds: u32,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for _ in 0..rounds {
        for key in keys {
            verifier.verify_api_key(key, None).await.context("a rejected key")?;
        }
    }
    Ok(began.elapsed() / (rounds * TOKENS))
}

/// Measures requests like those of the verifier.
async fn time_requests(auth: &str) -> anyhow::Result<Duration> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{auth}/validate");
    let began = Instant::now();
    for _ in 0..TOKENS {
        let request = client.post(&url).json(&serde_json::json!({"token": "x"}));
        request.send().await?.json::<TokenInfo>().await?;
    }
    Ok(began.elapsed() / TOKENS)
}

async fn time(
    verifier: &TokenVerifier,
    tokens: &[String],
    rounds: u32,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for _ in 0..rounds {
        for token in tokens {
            verifier.verify(token).await.context("a rejected token")?;
        }
    }
    Ok(began.elapsed() / (rounds * TOKENS))
}

async fn publish() -> anyhow::Result<String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(|_| anyhow!("no key"))?;
    let jwks = Jwks { keys: vec![jwk("key", pair.public_key().as_ref().try_into()?)] };
    let router = Router::new()
        .route("/.well-known/jwks.json", get(async move || Json(jwks)))
        .route("/validate", post(async || Json(key_info())));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// The owner and the scopes of every key.
fn key_info() -> TokenInfo {
    TokenInfo {
        active: true,
        sub: Uuid::nil(),
        login: "ada".to_owned(),
        roles: vec![Role::User],
        exp: None,
        session_id: None,
        api_key: Some(ApiKeyInfo { id: Uuid::nil(), scopes: vec![Scope::TasksRead], epoch: 1 }),
    }
}

fn sign(key: &SigningKey, session: Uuid, clock: &dyn Clock) -> anyhow::Result<String> {
    let now = clock.now().as_second();
    key.sign(&Claims {
        iss: ISSUER.to_owned(),
        sub: session,
        sid: session,
        epoch: 1,
        login: "ada".to_owned(),
        roles: vec![Role::User],
        iat: now,
        exp: now + 900,
        jti: session,
    })
}
