//! The engines do what every store of tasks has to do.

use std::sync::Arc;

use miniapp_tasks::Engine;
use miniapp_tasks::postgres::PostgresEngine;
use miniapp_tasks::sqlite::SqliteEngine;
use miniapp_test_support::MemoryStore;
use miniapp_test_support::conformance::tasks::{Processes, check};
use miniapp_test_support::postgres::Server;
use tempfile::TempDir;
use tokio::runtime::Builder;
use uuid::Uuid;

fn url(directory: &TempDir) -> String {
    format!("sqlite://{}", directory.path().join(format!("{}.db", Uuid::new_v4())).display())
}

async fn open(url: &str) -> Arc<dyn Engine> {
    Arc::new(SqliteEngine::open(url, false).await.expect("a store"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_a_store_of_tasks() {
    let directory = tempfile::tempdir().expect("a directory");
    check(async || {
        let url = url(&directory);
        [open(&url).await, open(&url).await] as Processes
    })
    .await;
}

/// The one that simulations run on has to be as good as those that it stands for.
#[tokio::test]
async fn memory_is_a_store_of_tasks() {
    check(async || {
        let store = MemoryStore::default();
        [Arc::new(store.clone()) as Arc<dyn Engine>, Arc::new(store)] as Processes
    })
    .await;
}

/// As when all services start together for the first time.
#[test]
fn processes_may_make_the_file_together() {
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

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_a_store_of_tasks() {
    let Some(server) = Server::shared().await else { return };
    check(async || {
        let settings = server.settings().await.expect("a database");
        let open = || Arc::new(PostgresEngine::new(&settings).expect("a store")) as Arc<dyn Engine>;
        [open(), open()] as Processes
    })
    .await;
}
