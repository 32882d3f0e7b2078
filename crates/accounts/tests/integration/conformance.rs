//! Both stores pass the conformance suite.

use std::sync::Arc;

use miniapp_accounts::{PostgresStore, SqliteStore, Store};
use miniapp_test_support::postgres::{PoolMode, Pooler, Server};
use tempfile::TempDir;
use tokio::runtime::Builder;
use uuid::Uuid;

fn url(directory: &TempDir) -> String {
    format!("sqlite://{}", directory.path().join(format!("{}.db", Uuid::new_v4())).display())
}

async fn open(url: &str) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(url, false).await.expect("a store"))
}

mod sqlite {
    use super::*;

    async fn store(case: impl AsyncFnOnce(Arc<dyn Store>)) {
        let directory = tempfile::tempdir().expect("a directory");
        case(open(&url(&directory)).await).await;
    }

    miniapp_test_support::account_store_tests!(store);
}

mod postgres {
    use super::*;

    async fn store(case: impl AsyncFnOnce(Arc<dyn Store>)) {
        let server = Server::shared().await;
        let settings = server.settings().await.expect("a database");
        case(Arc::new(PostgresStore::new(&settings).expect("a store"))).await;
    }

    miniapp_test_support::account_store_tests!(
        #[ignore = "needs PostgreSQL"]
        store
    );
}

/// Behind `PgBouncer` in transaction mode, with two connections for all.
mod pooled {
    use super::*;

    async fn store(case: impl AsyncFnOnce(Arc<dyn Store>)) {
        let server = Server::shared().await;
        let mut settings = server.settings().await.expect("a database");
        let pooler = Pooler::start(server, PoolMode::Transaction, &["default_pool_size=2"]).await;
        let pooler = pooler.expect("a pooler");
        settings.url = pooler.url(&settings.url);
        case(Arc::new(PostgresStore::new(&settings).expect("a store"))).await;
    }

    miniapp_test_support::account_store_tests!(
        #[ignore = "needs PostgreSQL and PgBouncer"]
        store
    );
}

/// All services may start together for the first time.
#[test]
fn concurrent_first_opens_succeed() {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..20 {
        let url = url(&directory);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let runtime = Builder::new_current_thread().enable_all().build();
                    runtime.expect("a runtime").block_on(async {
                        open(&url).await.ping().await.expect("a store that answers");
                    });
                });
            }
        });
    }
}
