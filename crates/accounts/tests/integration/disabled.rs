//! Disabled accounts beside the previous release.

use miniapp_accounts::{PostgresStore, Store as _};
use miniapp_test_support::postgres::Server;
use sqlx::{Connection as _, PgConnection};

/// The statement of the previous release, which does not know disabled accounts.
const INSERT_SESSION: &str = "INSERT INTO sessions \
    (id, account, refresh, epoch, created_at, last_used_at, expires_at) \
    SELECT gen_random_uuid(), id, decode('00' || login, 'escape'), 1, 0, 0, 1 FROM accounts \
    WHERE login = $1 AND password = 'hash' RETURNING id";

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn previous_release_opens_no_session_of_a_disabled_account() {
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let store = PostgresStore::new(&settings).expect("a store");
    store.ping().await.expect("a store that answers");
    let mut connection = PgConnection::connect(settings.url.expose()).await.expect("a connection");
    let accounts = "INSERT INTO accounts \
        (id, login, login_key, email, password, roles, created_at, disabled_at) VALUES \
        (gen_random_uuid(), 'ada', 'ada', 'ada@example.com', 'hash', 'user', 0, 1), \
        (gen_random_uuid(), 'bob', 'bob', 'bob@example.com', 'hash', 'user', 0, NULL)";
    sqlx::raw_sql(accounts).execute(&mut connection).await.expect("accounts");
    for (login, sessions) in [("ada", 0), ("bob", 1)] {
        let opened = sqlx::query(INSERT_SESSION).bind(login).fetch_all(&mut connection).await;
        assert_eq!(opened.expect("no error").len(), sessions, "{login}");
    }
}
