//! Side effects of tasks: a server counts the requests of each attempt.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::stream;
use parking_lot::Mutex;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::header::HeaderMap;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use uuid::Uuid;

/// The server. Dropping it stops it.
pub struct Effects {
    address: SocketAddr,
    counted: Arc<Mutex<Counted>>,
    serving: AbortHandle,
}

/// The counts of the server.
#[derive(Clone, Default)]
pub struct Counted {
    /// By task and fencing token, which identify an attempt.
    pub rows: HashMap<(Uuid, u64), Row>,
    /// The newest token of each task.
    newest: HashMap<Uuid, u64>,
    /// Requests without a task, token and generation.
    pub strange: Vec<String>,
}

/// The effects of an attempt.
#[derive(Clone, Copy, Default)]
pub struct Row {
    pub times: u32,
    /// The generation in the idempotency key.
    pub generation: u32,
    /// Whether a newer attempt of the task had an effect before. The result of this attempt must not
    /// be accepted then.
    pub is_stale: bool,
}

#[derive(Clone)]
struct Server {
    counted: Arc<Mutex<Counted>>,
    dice: Arc<Mutex<Xoshiro256PlusPlus>>,
}

impl Effects {
    pub async fn start(seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let counted = Arc::<Mutex<Counted>>::default();
        let dice = Arc::new(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)));
        let server = Server { counted: counted.clone(), dice };
        let router = Router::new().route("/", post(count)).with_state(server);
        let serving = tokio::spawn(axum::serve(listener, router).into_future()).abort_handle();
        Ok(Self { address, counted, serving })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn counted(&self) -> Counted {
        self.counted.lock().clone()
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Counted {
    fn add(&mut self, key: &str, attempt: &str) {
        let ids = attempt.rsplit_once('-').and_then(|(task, token)| {
            let generation = key.strip_prefix(task)?.strip_prefix('.')?;
            Some((task.parse::<Uuid>().ok()?, token.parse::<u64>().ok()?, generation.parse().ok()?))
        });
        let Some((task, token, generation)) = ids else {
            self.strange.push(format!("{attempt} with the key {key}"));
            return;
        };
        let newest = self.newest.entry(task).or_default();
        let row = self.rows.entry((task, token)).or_default();
        row.times += 1;
        row.generation = generation;
        row.is_stale |= token < *newest;
        *newest = token.max(*newest);
    }
}

/// Counts the request. Sometimes it responds late, even after the lease has expired, or closes the
/// connection after the effect.
async fn count(State(server): State<Server>, headers: HeaderMap) -> Response {
    let text = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (key, attempt) = (text("idempotency-key"), text("x-attempt-id"));
    let (manner, pause) = {
        let mut dice = server.dice.lock();
        (dice.random_range(0..100), Duration::from_millis(dice.random_range(0..1000)))
    };
    server.counted.lock().add(&key, &attempt);
    match manner {
        0..80 => {}
        80..93 => tokio::time::sleep(pause).await,
        93..96 => tokio::time::sleep(Duration::from_secs(4) + pause).await,
        _ => {
            let broken = stream::iter([Err::<Bytes, _>(io::Error::other("hung up"))]);
            return Body::from_stream(broken).into_response();
        }
    }
    attempt.into_response()
}
