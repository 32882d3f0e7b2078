//! Reading the keys from a store that is silent.

use futures_util::future::join_all;
use miniapp_config::{Database, EngineUrl, Synchronous};
use miniapp_runtime::clock::ManualClock;
use tokio::net::TcpListener;

use super::*;
use crate::sql::PostgresStore;

const CALLERS: u32 = 10;

/// A server that accepts connections and never responds, and known keys.
async fn silent() -> (SigningKeys, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = server.local_addr().expect("bound");
    let database = Database {
        url: EngineUrl::new(format!("postgres://auth@{address}/miniapp")),
        pooler: None,
        synchronous: Synchronous::Full,
        connections: 4,
    };
    let clock = Arc::new(ManualClock::default());
    let secrets = PlatformSecrets::new("for tests", None);
    let known = generate(&secrets, clock.now()).expect("a key");
    let sealer = sealer(&secrets).expect("a sealer");
    let ring = KeyRing::open(&sealer, &[known]).expect("opened");
    let keys = SigningKeys {
        store: Arc::new(PostgresStore::new(&database).expect("a store")),
        clock,
        sealer,
        schedule: Schedule { rotation: Duration::from_hours(24), overlap: Duration::from_hours(1) },
        ring: RwLock::new(Arc::new(ring)),
        latest_read: Mutex::default(),
    };
    (keys, server)
}

#[tokio::test(start_paused = true)]
async fn known_keys_are_published_while_the_store_is_silent() {
    let (keys, _server) = silent().await;
    let began = Instant::now();
    let published = join_all((0..CALLERS).map(|_| keys.jwks())).await;
    assert!(published.iter().all(|jwks| jwks.keys.len() == 1), "{published:?}");
    assert!(began.elapsed() < 2 * MAX_WAIT, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_a_failure() {
    let (keys, _server) = silent().await;
    let began = Instant::now();
    let failed = keys.refresh().await;
    let alone = began.elapsed();
    assert!(matches!(failed, Err(KeyError::Store(StoreError::Unavailable(_)))), "{failed:?}");
    assert!(alone > MAX_WAIT, "{alone:?}");
    let began = Instant::now();
    let failed = join_all((0..CALLERS).map(|_| keys.refresh())).await;
    assert!(failed.iter().all(Result::is_err), "{failed:?}");
    // Those who called during the first read share a second one.
    assert!(began.elapsed() < 3 * alone, "{:?}, and {alone:?} alone", began.elapsed());
}
