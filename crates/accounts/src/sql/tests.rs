//! Every statement can be prepared, on both databases.

use miniapp_test_support::postgres::Server;
use sqlx::{Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection};

use super::engine::Engine as _;
use super::{PostgresStore, SqliteStore, postgres, sqlite, text};

#[tokio::test]
async fn sqlite_prepares_every_statement() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("accounts.db").display());
    let _store = SqliteStore::open(&url, false).await.expect("a store");
    let mut connection = SqliteConnection::connect(&url).await.expect("a connection");
    let own = [sqlite::ANY_DUE, sqlite::CLAIM_OUTBOX_MESSAGES, SqliteStore::OUTBOX_BACKLOG];
    for text in text::ALL.iter().chain(&own) {
        let prepared = (&mut connection).prepare(text.into_sql_str()).await;
        assert!(prepared.is_ok(), "{text}: {prepared:?}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_prepares_every_statement() {
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let store = PostgresStore::new(&settings).expect("a store");
    // The first use migrates the database.
    store.ping().await.expect("a store that answers");
    let mut connection = PgConnection::connect(settings.url.expose()).await.expect("a connection");
    let own = [postgres::CLAIM_OUTBOX_MESSAGES, PostgresStore::OUTBOX_BACKLOG];
    for text in text::ALL.iter().chain(&own) {
        let prepared = (&mut connection).prepare(text.into_sql_str()).await;
        assert!(prepared.is_ok(), "{text}: {prepared:?}");
    }
}
