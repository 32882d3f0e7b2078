//! A fake auth service: signing keys and token introspection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use miniapp_broker::{Broker as _, MemoryBroker, Message, Topic};
use miniapp_http::Problem;
use miniapp_runtime::clock::{Clock as _, ManualClock, new_id};
use miniapp_token::{SigningKey, generate_api_key, is_api_key, jwk};
use miniapp_types::account::Jwks;
use miniapp_types::message::{AccountDeleted, SessionChanged};
use miniapp_types::problem::Code;
use parking_lot::Mutex;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The lifetime of tokens in seconds.
pub(crate) const TTL: i64 = 900;

/// A token and its claims.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub text: String,
    pub user: Uuid,
    pub session: Uuid,
    pub epoch: u32,
}

/// An API key, and the response of `/validate`.
struct ApiKey {
    info: Value,
    is_revoked: bool,
    expires_at: Option<i64>,
}

#[derive(Clone)]
pub(crate) struct FakeAuth(Arc<Shared>);

struct Shared {
    url: String,
    clock: Arc<ManualClock>,
    broker: Arc<MemoryBroker>,
    /// The seeds of the published keys. The last one signs.
    keys: Mutex<Vec<u8>>,
    /// The epoch of each session; `None` after its end.
    sessions: Mutex<HashMap<Uuid, Option<u32>>>,
    /// The API keys by text.
    api_keys: Mutex<HashMap<String, ApiKey>>,
    is_down: AtomicBool,
    /// Whether it rejects API keys like the previous release.
    is_previous: AtomicBool,
    /// Each response to `/validate` takes a permit.
    gate: Semaphore,
    validations: AtomicUsize,
    fetches: AtomicUsize,
}

impl FakeAuth {
    pub async fn start(clock: Arc<ManualClock>, broker: Arc<MemoryBroker>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Shared {
            url: format!("http://{address}"),
            clock,
            broker,
            keys: Mutex::new(vec![1]),
            sessions: Mutex::default(),
            api_keys: Mutex::default(),
            is_down: AtomicBool::new(false),
            is_previous: AtomicBool::new(false),
            gate: Semaphore::new(1_000_000),
            validations: AtomicUsize::new(0),
            fetches: AtomicUsize::new(0),
        };
        let auth = Self(Arc::new(shared));
        let router = Router::new()
            .route("/.well-known/jwks.json", get(jwks))
            .route("/validate", post(validate))
            .with_state(auth.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        auth
    }

    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Returns a token for a new session of a new account.
    pub fn sign_in(&self) -> Token {
        self.sign_in_with(&["user"])
    }

    pub fn sign_in_as_admin(&self) -> Token {
        self.sign_in_with(&["user", "admin"])
    }

    fn sign_in_with(&self, roles: &[&str]) -> Token {
        let clock = self.0.clock.as_ref();
        let (user, session) = (new_id(clock), new_id(clock));
        self.0.sessions.lock().insert(session, Some(1));
        self.token(user, session, 1, roles)
    }

    /// Returns an API key of a new account. The key is used like a token.
    pub fn create_key(&self, roles: &[&str], scopes: &[&str]) -> Token {
        self.create_expiring_key(roles, scopes, None)
    }

    /// Returns an API key that expires after some seconds.
    pub fn create_expiring_key(&self, roles: &[&str], scopes: &[&str], ttl: Option<i64>) -> Token {
        let clock = self.0.clock.as_ref();
        let (user, id) = (new_id(clock), new_id(clock));
        let text = generate_api_key().expect("random bits").expose().to_owned();
        let expires_at = ttl.map(|ttl| clock.now().as_second() + ttl);
        let mut info = json!({
            "active": true, "sub": user, "login": "ada", "roles": roles,
            "apiKey": {"id": id, "scopes": scopes, "epoch": 1},
        });
        if let Some(at) = expires_at {
            info["exp"] = at.into();
        }
        let key = ApiKey { info, is_revoked: false, expires_at };
        self.0.api_keys.lock().insert(text.clone(), key);
        Token { text, user, session: id, epoch: 1 }
    }

    /// Revokes a key, and broadcasts it.
    pub async fn revoke_key(&self, key: &Token) {
        self.revoke_key_silently(key);
        self.broadcast(key.session, None).await;
    }

    /// Revokes a key without a broadcast.
    pub fn revoke_key_silently(&self, key: &Token) {
        self.0.api_keys.lock().get_mut(&key.text).expect("a key").is_revoked = true;
    }

    /// Sets the roles of a key's owner like the previous release, which does not announce that.
    pub fn set_roles_silently(&self, key: &Token, roles: &[&str]) {
        let mut keys = self.0.api_keys.lock();
        keys.get_mut(&key.text).expect("a key").info["roles"] = json!(roles);
    }

    /// Sets the roles of a key's owner, and broadcasts that.
    pub async fn set_roles(&self, key: &Token, roles: &[&str]) {
        let epoch = {
            let mut keys = self.0.api_keys.lock();
            let info = &mut keys.get_mut(&key.text).expect("a key").info;
            let epoch = info["apiKey"]["epoch"].as_u64().expect("a number") + 1;
            info["roles"] = json!(roles);
            info["apiKey"]["epoch"] = epoch.into();
            u32::try_from(epoch).expect("a small number")
        };
        self.broadcast(key.session, Some(epoch)).await;
    }

    /// Issues the next token of a session, and broadcasts the change.
    pub async fn refresh(&self, token: &Token) -> Token {
        let epoch = token.epoch + 1;
        self.0.sessions.lock().insert(token.session, Some(epoch));
        self.broadcast(token.session, Some(epoch)).await;
        self.token(token.user, token.session, epoch, &["user"])
    }

    /// Ends a session, and broadcasts the change.
    pub async fn sign_out(&self, token: &Token) {
        self.end_silently(token);
        self.broadcast(token.session, None).await;
    }

    /// Ends a session without a broadcast.
    pub fn end_silently(&self, token: &Token) {
        self.0.sessions.lock().insert(token.session, None);
    }

    async fn broadcast(&self, session_id: Uuid, epoch: Option<u32>) {
        let message = self.session_changed(session_id, epoch);
        // Fails while the broker is paused.
        let _ = self.0.broker.broadcast(Topic::Sessions, message).await;
    }

    /// The message that a session is at `epoch` now, or has ended.
    pub fn session_changed(&self, session_id: Uuid, epoch: Option<u32>) -> Message {
        let (at, id) = (self.0.clock.now(), new_id(self.0.clock.as_ref()));
        let change = SessionChanged::V1 { session_id, epoch, at, signature: None };
        Message::new(id, &self.signing_key().sign_event(id, change).expect("signed"))
    }

    /// The message that an account is deleted.
    pub fn deleted(&self, user: Uuid) -> Message {
        let seed = *self.0.keys.lock().last().expect("a key");
        Self::deleted_signed_by(seed, user)
    }

    /// The same, signed with any key.
    pub fn deleted_signed_by(seed: u8, user_id: Uuid) -> Message {
        let id = Uuid::new_v4();
        let event = AccountDeleted::V1 { user_id, signature: None };
        Message::new(id, &key(seed).sign_event(id, event).expect("signed"))
    }

    fn signing_key(&self) -> SigningKey {
        key(*self.0.keys.lock().last().expect("a key"))
    }

    /// Signs with the key of another seed from now on. `keep`: earlier keys stay published.
    pub fn rotate(&self, seed: u8, keep: bool) {
        let mut keys = self.0.keys.lock();
        if !keep {
            keys.clear();
        }
        keys.push(seed);
    }

    pub fn go_down(&self) {
        self.0.is_down.store(true, Ordering::SeqCst);
    }

    pub fn come_back(&self) {
        self.0.is_down.store(false, Ordering::SeqCst);
    }

    /// Answers like a process of the previous release, which knows no API keys, or no longer.
    pub fn be_previous(&self, is_previous: bool) {
        self.0.is_previous.store(is_previous, Ordering::SeqCst);
    }

    /// Delays responses to `/validate` until [`Self::release`].
    pub fn hold(&self) {
        self.0.gate.forget_permits(usize::MAX);
    }

    pub fn release(&self) {
        self.0.gate.add_permits(1_000_000);
    }

    /// Returns the number of introspections.
    pub fn validations(&self) -> usize {
        self.0.validations.load(Ordering::SeqCst)
    }

    /// Returns the number of key requests.
    pub fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::SeqCst)
    }

    fn token(&self, user: Uuid, session: Uuid, epoch: u32, roles: &[&str]) -> Token {
        let now = self.0.clock.now().as_second();
        let claims = json!({
            "iss": "miniapp", "sub": user, "sid": session, "epoch": epoch, "login": "ada",
            "roles": roles, "iat": now, "exp": now + TTL, "jti": Uuid::nil(),
        });
        let seed = *self.0.keys.lock().last().expect("a key");
        Token { text: signed(&header(seed), &claims, seed), user, session, epoch }
    }
}

/// Returns the header of tokens signed with the key of `seed`.
pub(crate) fn header(seed: u8) -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("key-{seed}")})
}

/// Returns a signed token with any header and claims.
pub(crate) fn signed(header: &Value, claims: &Value, seed: u8) -> String {
    let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = pair(seed).sign(signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// Returns the claims of a token.
pub(crate) fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("claims");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64");
    serde_json::from_slice(&claims).expect("JSON")
}

fn key(seed: u8) -> SigningKey {
    SigningKey::new(&format!("key-{seed}"), &[seed; 32])
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
}

async fn jwks(State(FakeAuth(auth)): State<FakeAuth>) -> Result<Json<Jwks>, StatusCode> {
    auth.fetches.fetch_add(1, Ordering::SeqCst);
    if auth.is_down.load(Ordering::SeqCst) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let seeds = auth.keys.lock().clone();
    let keys = seeds.into_iter().map(|seed| {
        let public = pair(seed).public_key().as_ref().try_into().expect("32 bytes");
        jwk(&format!("key-{seed}"), &public)
    });
    Ok(Json(Jwks { keys: keys.collect() }))
}

async fn validate(State(FakeAuth(auth)): State<FakeAuth>, Json(body): Json<Value>) -> Response {
    auth.validations.fetch_add(1, Ordering::SeqCst);
    if auth.is_down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let token = body["token"].as_str().expect("a token");
    if is_api_key(token) {
        return validate_key(&auth, token).await;
    }
    let claims = claims(token);
    let session: Uuid = claims["sid"].as_str().expect("an id").parse().expect("a UUID");
    // The response is delayed, not the lookup: a broadcast may overtake it.
    let epoch = auth.sessions.lock().get(&session).copied().flatten();
    auth.gate.acquire().await.expect("open").forget();
    if epoch.map(Value::from).as_ref() == Some(&claims["epoch"]) {
        return Json(json!({"active": true, "sub": claims["sub"]})).into_response();
    }
    Problem::new(Code::TokenRevoked).status(StatusCode::BAD_REQUEST).into_response()
}

async fn validate_key(auth: &Shared, key: &str) -> Response {
    // The response is delayed, not the lookup.
    let answer = {
        let keys = auth.api_keys.lock();
        match keys.get(key) {
            _ if auth.is_previous.load(Ordering::SeqCst) => Err(Code::TokenInvalid),
            None => Err(Code::TokenInvalid),
            Some(key) if key.is_revoked => Err(Code::TokenRevoked),
            Some(key) if key.expires_at.is_some_and(|at| at <= auth.clock.now().as_second()) => {
                Err(Code::TokenExpired)
            }
            Some(key) => Ok(key.info.clone()),
        }
    };
    auth.gate.acquire().await.expect("open").forget();
    match answer {
        Ok(info) => Json(info).into_response(),
        Err(code) => Problem::new(code).status(StatusCode::BAD_REQUEST).into_response(),
    }
}
