//! Every engine passes the conformance suite.

use std::sync::Arc;

use miniapp_tasks::Engine;
use miniapp_tasks::postgres::PostgresEngine;
use miniapp_tasks::sqlite::SqliteEngine;
use miniapp_test_support::MemoryStore;
use miniapp_test_support::conformance::tasks::Processes;
use miniapp_test_support::postgres::{PoolMode, Pooler, Server};
use tempfile::TempDir;
use tokio::runtime::Builder;
use uuid::Uuid;

fn url(directory: &TempDir) -> String {
    format!("sqlite://{}", directory.path().join(format!("{}.db", Uuid::new_v4())).display())
}

async fn open(url: &str) -> Arc<dyn Engine> {
    Arc::new(SqliteEngine::open(url, false).await.expect("a store"))
}

mod sqlite {
    use super::*;

    async fn engines(case: impl AsyncFnOnce(Processes)) {
        let directory = tempfile::tempdir().expect("a directory");
        let url = url(&directory);
        case([open(&url).await, open(&url).await]).await;
    }

    miniapp_test_support::task_engine_tests!(engines);
}

/// The engine of the simulations.
mod memory {
    use super::*;

    async fn engines(case: impl AsyncFnOnce(Processes)) {
        let store = MemoryStore::default();
        case([Arc::new(store.clone()), Arc::new(store)]).await;
    }

    miniapp_test_support::task_engine_tests!(engines);
}

mod postgres {
    use super::*;

    async fn engines(case: impl AsyncFnOnce(Processes)) {
        let server = Server::shared().await;
        let settings = server.settings().await.expect("a database");
        let open = || Arc::new(PostgresEngine::new(&settings).expect("a store")) as Arc<dyn Engine>;
        case([open(), open()]).await;
    }

    miniapp_test_support::task_engine_tests!(
        #[ignore = "needs PostgreSQL"]
        engines
    );
}

/// Behind `PgBouncer` in transaction mode, with two connections for all.
mod pooled {
    use super::*;

    async fn engines(case: impl AsyncFnOnce(Processes)) {
        let server = Server::shared().await;
        let mut settings = server.settings().await.expect("a database");
        let pooler = Pooler::start(server, PoolMode::Transaction, &["default_pool_size=2"]).await;
        let pooler = pooler.expect("a pooler");
        settings.url = pooler.url(&settings.url);
        let open = || Arc::new(PostgresEngine::new(&settings).expect("a store")) as Arc<dyn Engine>;
        case([open(), open()]).await;
    }

    miniapp_test_support::task_engine_tests!(
        #[ignore = "needs PostgreSQL and PgBouncer"]
        engines
    );
}

/// Several services may open a new file at the same time.
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
