//! A server that stops responding after each step of the protocol: every wait ends, and the
//! client works again when the server does.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use miniapp_config::{Database as Settings, Synchronous};
use miniapp_postgres::{Database, DatabaseError};
use miniapp_test_support::postgres::Server;
use miniapp_test_support::proxy::Proxy;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use tokio::time::{Instant, timeout};

/// Until an operation fails, including its second attempt on a new connection.
const FAILS_WITHIN: Duration = Duration::from_secs(13);
/// The number of cases at a time.
const CONCURRENCY: usize = 6;
const RECOVERS_WITHIN: Duration = Duration::from_secs(15);
/// Login (startup, SASL, SASL), marker, BEGIN, lock, table, list, migration, record, COMMIT and
/// the same without a migration, statement.
const STEPS_AT_START: u64 = 18;

fn migrations() -> Migrator {
    let sql = sqlx::SqlStr::from_static("CREATE TABLE counts AS SELECT 0 AS n");
    let kind = MigrationType::Simple;
    let migration = Migration::new(1, "a step".into(), kind, sql, false);
    let mut migrator = Migrator::with_migrations(vec![migration]);
    migrator.dangerous_set_table_name("test_migrations");
    migrator
}

/// A database behind a proxy.
async fn behind_proxy() -> (Proxy, Settings) {
    let proxied = Server::shared().await.database_behind_proxy().await;
    let (proxy, url) = proxied.expect("a database");
    (proxy, Settings { url, pooler: None, synchronous: Synchronous::Full, connections: 2 })
}

async fn add(database: &Database) -> Result<(), DatabaseError> {
    database.fetch_all(|| sqlx::query("UPDATE counts SET n = n + 1")).await.map(drop)
}

async fn add_in_transaction(database: &Database) -> Result<(), DatabaseError> {
    let mut transaction = database.begin().await?;
    transaction.fetch_all(sqlx::query("SELECT n FROM counts")).await?;
    transaction.fetch_all(sqlx::query("UPDATE counts SET n = n + 2")).await?;
    transaction.commit().await
}

async fn read_rows(database: &Database) -> Result<(), DatabaseError> {
    database.for_each_row(|| sqlx::query("SELECT n FROM counts"), |_| Ok(())).await
}

async fn scan(database: &Database) -> Result<(), DatabaseError> {
    database.scan(|| sqlx::query("SELECT count(*) FROM counts")).await.map(drop)
}

/// Checks that an operation on the silent server fails in time with a transient error.
async fn fails(operation: impl Future<Output = Result<(), DatabaseError>>, case: &str) {
    let ended = timeout(FAILS_WITHIN, operation).await;
    let error = ended.unwrap_or_else(|_| panic!("{case}: hangs")).expect_err(case);
    assert!(error.is_transient(), "{case}: {error:?}");
}

/// Checks that the healed server works soon.
async fn recovers(database: &Database, case: &str) {
    let began = Instant::now();
    loop {
        match add(database).await {
            Ok(()) => return,
            Err(error) => assert!(began.elapsed() < RECOVERS_WITHIN, "{case}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn silent_server_at_start_fails_each_step_in_time() {
    let cases = (0..STEPS_AT_START).map(async |step| {
        let (proxy, settings) = behind_proxy().await;
        let database = Database::new(&settings, Some(migrations())).expect("a URL");
        proxy.silence_after(step);
        let case = format!("after step {step}");
        // A slow machine may need more than one attempt to get that far.
        tokio::select! {
            () = proxy.until_silent() => {}
            () = async { loop { fails(add(&database), &case).await } } => {}
        }
        fails(add(&database), &case).await;
        proxy.heal();
        recovers(&database, &case).await;
    });
    stream::iter(cases).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn silent_server_in_use_fails_each_operation_in_time() {
    // The number of the operation, and the steps of new connections that are not silent.
    let cases = (0..4).flat_map(|operation| [0, 3, 5].map(|step| (operation, step)));
    let cases = cases.map(async |(operation, step)| {
        let (proxy, settings) = behind_proxy().await;
        let database = Database::new(&settings, Some(migrations())).expect("a URL");
        for _ in 0..3 {
            add_in_transaction(&database).await.expect("a commit");
        }
        proxy.silence_after(step);
        let case = format!("operation {operation}, new connections after step {step}");
        match operation {
            0 => fails(add(&database), &case).await,
            1 => fails(add_in_transaction(&database), &case).await,
            2 => fails(read_rows(&database), &case).await,
            _ => fails(scan(&database), &case).await,
        }
        proxy.until_silent().await;
        fails(database.ping(), &case).await;
        proxy.heal();
        recovers(&database, &case).await;
    });
    stream::iter(cases).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
}

/// A commit whose response is lost may have been executed, and is reported as unknown.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn silent_commit_fails_as_lost_connection() {
    let (proxy, settings) = behind_proxy().await;
    let database = Database::new(&settings, Some(migrations())).expect("a URL");
    add(&database).await.expect("a row");
    let mut transaction = database.begin().await.expect("a transaction");
    transaction.fetch_all(sqlx::query("UPDATE counts SET n = 9")).await.expect("a row");
    proxy.silence_after(0);
    let committed = timeout(FAILS_WITHIN, transaction.commit()).await.expect("in time");
    assert!(matches!(committed, Err(DatabaseError::ConnectionLost(_))), "{committed:?}");
    proxy.heal();
    recovers(&database, "a commit").await;
}

/// What another process needs does not wait for a process that was cut off in a migration.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn migration_lock_of_a_lost_process_is_released() {
    let (proxy, settings) = behind_proxy().await;
    let database = Database::new(&settings, Some(migrations())).expect("a URL");
    // Until it has the lock.
    proxy.silence_after(6);
    fails(add(&database), "the lost process").await;
    proxy.lose();
    proxy.heal();
    let other = Database::new(&settings, Some(migrations())).expect("a URL");
    recovers(&other, "the other process").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn long_statement_runs_while_the_server_responds() {
    let (_proxy, settings) = behind_proxy().await;
    let database = Database::new(&settings, None).expect("a URL");
    let rows = database.scan(|| sqlx::query("SELECT pg_sleep(6)")).await;
    assert_eq!(rows.expect("its rows").len(), 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn canceled_wait_does_not_interrupt_migrations() {
    const SLOW: &str = "CREATE TABLE counts AS SELECT 0 AS n FROM pg_sleep(1)";
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let kind = MigrationType::Simple;
    let sql = sqlx::SqlStr::from_static(SLOW);
    let migration = Migration::new(1, "a step".into(), kind, sql, false);
    let migrator = Migrator::with_migrations(vec![migration]);
    let database = Database::new(&settings, Some(migrator)).expect("a URL");
    for _ in 0..3 {
        // As a health check does.
        assert!(timeout(Duration::from_millis(300), database.ping()).await.is_err());
    }
    timeout(Duration::from_millis(800), add(&database)).await.expect("in time").expect("a row");
}
