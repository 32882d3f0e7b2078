//! Both engines do what every store of accounts has to do.

use std::sync::Arc;

use accounts::Store;
use accounts::postgres::PostgresStore;
use accounts::sqlite::SqliteStore;
use testkit::conformance::accounts::check;
use testkit::postgres::Server;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_a_store_of_accounts() {
    let directory = tempfile::tempdir().expect("a directory");
    check(async || {
        let file = directory.path().join(format!("{}.db", uuid::Uuid::new_v4()));
        let url = format!("sqlite://{}", file.display());
        Arc::new(SqliteStore::open(&url, false).await.expect("a store")) as Arc<dyn Store>
    })
    .await;
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
