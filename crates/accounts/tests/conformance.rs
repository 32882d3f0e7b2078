//! Both engines do what every store of accounts has to do.

use std::sync::Arc;

use miniapp_accounts::Store;
use miniapp_accounts::postgres::PostgresStore;
use miniapp_accounts::sqlite::SqliteStore;
use miniapp_test_support::conformance::accounts::check;
use miniapp_test_support::postgres::Server;
use tempfile::TempDir;
use tokio::runtime::Builder;
use uuid::Uuid;

fn url(directory: &TempDir) -> String {
    format!("sqlite://{}", directory.path().join(format!("{}.db", Uuid::new_v4())).display())
}

async fn open(url: &str) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(url, false).await.expect("a store"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_a_store_of_accounts() {
    let directory = tempfile::tempdir().expect("a directory");
    check(async || open(&url(&directory)).await).await;
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
async fn postgres_is_a_store_of_accounts() {
    let Some(server) = Server::shared().await else { return };
    check(async || {
        let settings = server.settings().await.expect("a database");
        Arc::new(PostgresStore::new(&settings).expect("a store")) as Arc<dyn Store>
    })
    .await;
}
