//! The client behind `PgBouncer`, in both of its modes.

use futures_util::future::join_all;
use miniapp_config::{Database as Settings, EngineUrl, Synchronous};
use miniapp_postgres::{Database, DatabaseError};
use miniapp_test_support::postgres::{PoolMode, Pooler, Server};
use sqlx::Row as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const MODES: [PoolMode; 2] = [PoolMode::Session, PoolMode::Transaction];
const READ: &str = "SELECT n FROM counts";
const ADD: &str = "UPDATE counts SET n = n + $1 RETURNING n";

fn migrations() -> Migrator {
    let migration = |version, sql| {
        let sql = sqlx::SqlStr::from_static(sql);
        Migration::new(version, "a step".into(), MigrationType::Simple, sql, false)
    };
    let concurrent = sqlx::SqlStr::from_static(
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS counts_by_n ON counts (n)",
    );
    let concurrent = Migration::new(2, "an index".into(), MigrationType::Simple, concurrent, true);
    let mut migrator = Migrator::with_migrations(vec![
        migration(1, "CREATE TABLE counts AS SELECT 0 AS n FROM pg_sleep(0.2)"),
        concurrent,
        migration(3, "INSERT INTO counts VALUES (100)"),
    ]);
    migrator.dangerous_set_table_name("test_migrations");
    migrator
}

fn client(url: &EngineUrl, connections: u32) -> Database {
    let settings =
        Settings { url: url.clone(), pooler: None, synchronous: Synchronous::Normal, connections };
    Database::new(&settings, Some(migrations())).expect("a URL")
}

async fn add(database: &Database, number: i32) -> Result<Vec<i32>, DatabaseError> {
    let rows = database.fetch_all(|| sqlx::query(ADD).bind(number)).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Repeats `work` while the database is slow to respond. Returns the number of failures, each
/// of which may have had its effect.
async fn repeat<T, F>(mut work: impl FnMut() -> F) -> (T, usize)
where
    F: Future<Output = Result<T, DatabaseError>>,
{
    let mut failures = 0;
    loop {
        match work().await {
            Ok(value) => return (value, failures),
            Err(DatabaseError::Conflict(_)) => {}
            Err(error) if error.is_transient() && failures < 30 => failures += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn add_in_transaction(database: &Database) -> Result<(), DatabaseError> {
    let mut transaction = database.begin().await?;
    let worked = async {
        transaction.fetch_all(sqlx::query(READ)).await?;
        transaction.fetch_all(sqlx::query(ADD).bind(1_i32)).await?;
        Ok(())
    };
    match worked.await {
        Ok(()) => transaction.commit().await,
        Err(error @ DatabaseError::Conflict(_)) => {
            transaction.rollback().await?;
            Err(error)
        }
        error => error,
    }
}

/// Checks on a connection of the pooler that a client left nothing in its session.
async fn check_sessions(server: &Server, url: &EngineUrl) {
    const SETTINGS: &str = "SELECT count(*)::int FROM pg_prepared_statements UNION ALL \
         SELECT count(*)::int FROM pg_settings WHERE source = 'session' \
         AND name IN ('statement_timeout', 'lock_timeout', 'synchronous_commit', \
         'idle_in_transaction_session_timeout')";
    const LOCKS: &str = "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let name = url.rest().rsplit('/').next().expect("a name");
    // In transaction mode these reuse sessions that the clients used.
    let plain: sqlx::postgres::PgConnectOptions = url.expose().parse().expect("a URL");
    let plain = plain.extra_float_digits(None);
    for _ in 0..5 {
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect_with(&plain)
            .await
            .expect("a connection");
        let rows = sqlx::Executor::fetch_all(&mut connection, SETTINGS).await.expect("counts");
        let counts: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(counts, [0, 0]);
    }
    let mut direct = server.connect(name).await.expect("a connection");
    let locks = sqlx::Executor::fetch_one(&mut direct, LOCKS).await.expect("a count");
    assert_eq!(locks.get::<i32, _>(0), 0, "a lock is stranded");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn clients_work_behind_a_pooler_and_leave_nothing_in_its_sessions() {
    for mode in MODES {
        let server = Server::shared().await;
        let direct = server.database().await.expect("a database");
        let pooler = Pooler::start(server, mode, &[]).await.expect("a pooler");
        let url = pooler.url(&direct);
        let clients: Vec<Database> = (0..4).map(|_| client(&url, 3)).collect();
        let work = clients.iter().map(async |database| {
            let mut failures = 0;
            for _ in 0..10 {
                let (numbers, failed) = repeat(|| add(database, 1)).await;
                assert_eq!(numbers.len(), 2);
                failures += failed;
                failures += repeat(|| add_in_transaction(database)).await.1;
                let count = repeat(async || {
                    let mut count = 0;
                    let counting = database.for_each_row(
                        || sqlx::query(READ),
                        |_| {
                            count += 1;
                            Ok::<_, DatabaseError>(())
                        },
                    );
                    counting.await.map(|()| count)
                });
                assert_eq!(count.await.0, 2);
                let rows = repeat(|| database.scan(|| sqlx::query(READ))).await.0;
                assert_eq!(rows.len(), 2);
            }
            repeat(|| database.ping()).await;
            i32::try_from(failures).expect("few failures")
        });
        let failures: i32 = join_all(work).await.iter().sum();
        let mut numbers = repeat(|| add(&clients[0], 0)).await.0;
        numbers.sort_unstable();
        let [first, second] = numbers[..] else { panic!("{mode:?}: {numbers:?}") };
        assert_eq!(second - first, 100, "{mode:?}");
        assert!((80..=80 + failures).contains(&first), "{mode:?}: {first} after {failures}");

        // An error leaves a usable connection, and a later client finds the migrations applied.
        let wrong = clients[0].fetch_all(|| sqlx::query("SELECT 1 / 0")).await;
        assert!(matches!(wrong, Err(DatabaseError::Internal(_))), "{wrong:?}");
        repeat(|| add(&clients[0], 0)).await;
        drop(clients);
        let later = client(&url, 1);
        repeat(|| add(&later, 0)).await;
        check_sessions(server, &url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn clients_share_fewer_connections_than_they_want() {
    for mode in MODES {
        let server = Server::shared().await;
        let direct = server.database().await.expect("a database");
        let pooler = Pooler::start(server, mode, &["default_pool_size=3"]).await.expect("a pooler");
        let clients: Vec<Database> = (0..4).map(|_| client(&pooler.url(&direct), 4)).collect();
        for database in &clients {
            repeat(|| database.migrate()).await;
        }
        let work = clients.iter().flat_map(|database| {
            (0..6).map(async |_| {
                for _ in 0..5 {
                    repeat(|| add(database, 1)).await;
                }
            })
        });
        join_all(work).await;
        let mut numbers = repeat(|| add(&clients[0], 0)).await.0;
        numbers.sort_unstable();
        assert!(numbers[0] >= 120, "{mode:?}: {numbers:?}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn limits_apply_behind_a_pooler() {
    for mode in MODES {
        let server = Server::shared().await;
        let direct = server.database().await.expect("a database");
        let name = direct.rest().rsplit('/').next().expect("a name").to_owned();
        let pooler = Pooler::start(server, mode, &[]).await.expect("a pooler");
        let database = client(&pooler.url(&direct), 2);
        repeat(|| add(&database, 1)).await;
        let mut other = server.connect(&name).await.expect("a connection");
        sqlx::Executor::execute(&mut other, "BEGIN; LOCK TABLE counts").await.expect("a lock");
        let locked = add(&database, 1).await;
        assert!(
            matches!(&locked, Err(DatabaseError::Unavailable(text)) if text.contains("a lock")),
            "{mode:?}: {locked:?}"
        );
        sqlx::Executor::execute(&mut other, "ROLLBACK").await.expect("an end");
        repeat(|| add(&database, 1)).await;
    }
}
