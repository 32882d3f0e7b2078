//! Sessions beside the previous release, which knows neither clients nor the derivation of refresh
//! tokens.

use std::time::Duration;

use miniapp_config::Database;
use miniapp_runtime::clock::Clock as _;
use miniapp_test_support::postgres::Server;
use miniapp_types::account::Secret;
use miniapp_types::problem::Code;
use ring::digest::{SHA256, digest};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::support::{Platform, caller};

#[tokio::test]
async fn sqlite_sessions_continue() {
    sessions_continue(None).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_sessions_continue() {
    let url = Server::shared().await.database().await.expect("a database");
    sessions_continue(Some(url.expose().to_owned())).await;
}

async fn sessions_continue(database: Option<String>) {
    let is_postgres = database.is_some();
    let settings = database.map(|url| ("MINIAPP__DATABASE__URL", url));
    let platform = Platform::with(settings.into_iter().collect()).await;
    let account = platform.register("ada").await.user_id;
    let blob = |hex: &str| if is_postgres { format!("'\\x{hex}'") } else { format!("X'{hex}'") };
    let hash = |token: &Secret| blob(&hex(digest(&SHA256, token.expose().as_bytes()).as_ref()));
    let uuid = |id: Uuid| if is_postgres { format!("'{id}'") } else { blob(&hex(id.as_bytes())) };
    let now = || platform.clock.now().as_microsecond();
    let expires = now() + 3_600_000_000;
    let insert = |session: Uuid, token: &Secret| {
        format!(
            "INSERT INTO sessions \
             (id, account, refresh, epoch, created_at, last_used_at, expires_at) \
             VALUES ({}, {}, {}, 1, {now}, {now}, {expires})",
            uuid(session),
            uuid(account),
            hash(token),
            now = now()
        )
    };
    let rotate = |session: Uuid, used: &Secret, next: &Secret| {
        format!(
            "UPDATE sessions SET refresh = {}, epoch = epoch + 1, last_used_at = {}, \
             expires_at = {expires} WHERE refresh = {}; \
             INSERT INTO spent_tokens (refresh, session, expires_at) VALUES ({}, {}, {expires})",
            hash(next),
            now(),
            hash(used),
            hash(used),
            uuid(session),
        )
    };
    let refresh = async |token: &Secret| platform.accounts.refresh(token, &caller()).await;

    // A session of the previous release goes on, and belongs to the client `default`.
    let (session, first) = (Uuid::from_u128(1), Secret::new("first"));
    execute(&platform, &insert(session, &first)).await;
    let listed = platform.store.sessions(account).await.expect("sessions");
    assert_eq!((listed[0].id, listed[0].client.as_str()), (session, "default"));
    let second = refresh(&first).await.expect("refreshed").refresh_token;
    assert_eq!(refresh(&first).await.expect("issued again").refresh_token, second);

    // The previous release replaces tokens of this one. It does not issue the new ones again, and
    // nobody else can.
    let third = Secret::new("third");
    execute(&platform, &rotate(session, &second, &third)).await;
    platform.clock.advance(Duration::from_secs(1));
    let fourth = refresh(&third).await.expect("refreshed").refresh_token;
    assert_eq!(refresh(&third).await.expect("issued again").refresh_token, fourth);
    let fifth = Secret::new("fifth");
    execute(&platform, &rotate(session, &fourth, &fifth)).await;
    let reused = refresh(&fourth).await.expect_err("another token followed");
    assert_eq!(reused.code(), Some(Code::TokenReused));
    assert_eq!(refresh(&fifth).await.expect_err("ended").code(), Some(Code::TokenRevoked));

    // A sign-in ends the sessions of its client, those of the previous release included.
    let (session, token) = (Uuid::from_u128(2), Secret::new("another"));
    execute(&platform, &insert(session, &token)).await;
    platform.sign_in("ada", "cli").await;
    assert!(platform.store.session(session).await.expect("a store").is_some());
    platform.sign_in("ada", "default").await;
    assert_eq!(refresh(&token).await.expect_err("ended").code(), Some(Code::TokenRevoked));
}

async fn execute(platform: &Platform, statements: &str) {
    let Database { url, .. } = platform.config.section().expect("a section");
    let statements = sqlx::raw_sql(AssertSqlSafe(statements));
    if url.scheme() == "sqlite" {
        let mut connection = SqliteConnection::connect(url.expose()).await.expect("a connection");
        statements.execute(&mut connection).await.map(drop)
    } else {
        let mut connection = PgConnection::connect(url.expose()).await.expect("a connection");
        statements.execute(&mut connection).await.map(drop)
    }
    .expect("executed");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
