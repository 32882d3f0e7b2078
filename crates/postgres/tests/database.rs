//! The client against a real server, in every state that a server can be in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_config::{Database as Settings, EngineUrl, Synchronous};
use miniapp_postgres::{Database, DatabaseClock, DatabaseError};
use miniapp_runtime::clock::{Clock, ManualClock, SystemClock};
use miniapp_test_support::certificate::Certificate;
use miniapp_test_support::postgres::Server;
use sqlx::Row as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use tokio::net::TcpListener;

fn settings(url: EngineUrl) -> Settings {
    Settings { url, pooler: None, synchronous: Synchronous::Full, connections: 2 }
}

fn at(url: &str) -> Database {
    Database::new(&settings(EngineUrl::new(url)), None).expect("a URL")
}

async fn fresh(server: &Server) -> Database {
    Database::new(&server.settings().await.expect("a database"), None).expect("a URL")
}

async fn number(database: &Database, sql: &'static str) -> Result<i32, DatabaseError> {
    let row = database.fetch_optional(|| sqlx::query(sql)).await?.expect("a row");
    Ok(row.try_get(0)?)
}

/// Returns the message of a failed ping and checks that it contains no password.
async fn refusal(database: &Database) -> String {
    let fault = database.ping().await.expect_err("it should not answer");
    assert!(fault.is_transient(), "{fault:?}");
    let text = fault.to_string();
    assert!(!text.contains("s3cr3t") && !text.contains("pass/word"), "{text}");
    text
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn connect_errors_name_the_target_without_credentials() {
    let server = Server::shared().await;
    let port = server.port();
    let cases = [
        (
            format!("postgres://postgres:s3cr3t@127.0.0.1:{port}/postgres"),
            "password authentication failed",
        ),
        (
            format!("postgres://nobody:s3cr3t@127.0.0.1:{port}/postgres"),
            "password authentication failed",
        ),
        (server.url("missing").expose().to_owned(), "database \"missing\" does not exist"),
        (format!("{}?sslmode=require", server.url("postgres").expose()), "TLS"),
        (
            "postgres://a:s3cr3t@127.0.0.1:1/b".to_owned(),
            "the database b at 127.0.0.1:1 (MINIAPP__DATABASE__URL): ",
        ),
        ("postgres://a:s3cr3t@no.such.host.invalid/b".to_owned(), "no.such.host.invalid"),
    ];
    for (url, expected) in cases {
        let text = refusal(&at(&url)).await;
        assert!(text.starts_with("can't connect to the database "), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let url = EngineUrl::new("postgres://a:s3cr3t@[/b");
    let Err(fault) = Database::new(&settings(url), None) else { panic!("that is no URL") };
    assert!(matches!(&fault, DatabaseError::Internal(text) if !text.contains("s3cr3t")), "{fault}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn ping_reports_read_only_database() {
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let name = settings.url.rest().rsplit('/').next().expect("a name");
    let database = Database::new(&settings, None).expect("a URL");
    database.ping().await.expect("it writes");

    let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    server.execute("postgres", &alter).await.expect("a setting");
    // What is connected already doesn't learn of it.
    database.ping().await.expect("it writes still");
    let database = Database::new(&settings, None).expect("a URL");
    assert!(refusal(&database).await.contains("read-only"));
    let made = database.fetch_all(|| sqlx::query("CREATE TABLE made ()")).await;
    assert!(matches!(made, Err(DatabaseError::ReadOnly)), "{made:?}");

    let alter = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    server.execute("postgres", &alter).await.expect("a setting");
    database.ping().await.expect("it writes again");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn standby_is_read_only_until_promoted() {
    let server = Server::alone(&[]).await;
    let database = fresh(&server).await;
    database
        .fetch_all(|| sqlx::query("CREATE TABLE counts AS SELECT 1 AS n"))
        .await
        .expect("a table");
    server.stand_by().await.expect("a standby");
    assert!(refusal(&database).await.contains("is it a standby?"));
    let change = "UPDATE counts SET n = 2 RETURNING n";
    let changed = number(&database, change).await;
    assert!(matches!(changed, Err(DatabaseError::ReadOnly)), "{changed:?}");
    assert_eq!(number(&database, "SELECT n FROM counts").await.expect("a row"), 1);

    server.execute("postgres", "SELECT pg_promote()").await.expect("a promotion");
    database.ping().await.expect("it writes");
    assert_eq!(number(&database, change).await.expect("a row"), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn tls_errors_name_the_failing_side() {
    let server = Server::alone(&[]).await;
    let certificate = Certificate::for_localhost().expect("a certificate");
    server.want_tls(&certificate).await.expect("a server with TLS");
    let authority = server.directory().join("authority.pem");
    std::fs::write(&authority, &certificate.authority).expect("a file");
    let url = server.url("postgres");
    let with = |options: &str| at(&format!("{}?{options}", url.expose()));

    let trusting = format!("sslmode=verify-full&sslrootcert={}", authority.display());
    with(&trusting).ping().await.expect("the right certificate");
    with("sslmode=require").ping().await.expect("any certificate");
    let text = refusal(&with("sslmode=verify-full")).await;
    assert!(text.contains("certificate"), "{text}");
    let text = refusal(&with("sslmode=disable")).await;
    assert!(text.contains("no encryption"), "{text}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn connect_reports_connection_limit() {
    let settings = ["max_connections=4", "superuser_reserved_connections=0"];
    let server = Server::alone(&settings).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(server.connect("postgres").await.expect("a connection"));
    }
    let database = at(server.url("postgres").expose());
    let text = refusal(&database).await;
    assert!(text.contains("too many clients"), "{text}");
    held.clear();
    // The server notices a moment later that they went away.
    while database.ping().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn statement_timeout_keeps_the_connection() {
    let server = Server::shared().await;
    let database = fresh(server).await;
    let set = "SET statement_timeout = '50ms'";
    database.fetch_all(|| sqlx::query(set)).await.expect("a setting");
    let slow = database.fetch_all(|| sqlx::query("SELECT pg_sleep(60)")).await;
    assert!(
        matches!(&slow, Err(DatabaseError::Unavailable(text)) if text.contains("too long")),
        "{slow:?}"
    );
    let setting = "SELECT current_setting('statement_timeout')";
    let row =
        database.fetch_optional(|| sqlx::query(setting)).await.expect("an answer").expect("a row");
    assert_eq!(row.get::<String, _>(0), "50ms", "another connection answered");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn lock_timeout_is_reported() {
    let server = Server::shared().await;
    let database = fresh(server).await;
    database
        .fetch_all(|| sqlx::query("CREATE TABLE counts AS SELECT 1 AS n"))
        .await
        .expect("a table");
    database.fetch_all(|| sqlx::query("SET lock_timeout = '50ms'")).await.expect("a setting");
    let mut other = database.begin().await.expect("a transaction");
    other.fetch_all(sqlx::query("LOCK TABLE counts")).await.expect("a lock");
    let read = number(&database, "SELECT n FROM counts").await;
    assert!(
        matches!(&read, Err(DatabaseError::Unavailable(text)) if text.contains("a lock")),
        "{read:?}"
    );
    other.rollback().await.expect("its end");
    assert_eq!(number(&database, "SELECT n FROM counts").await.expect("a row"), 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn dead_connection_is_replaced_and_the_statement_retried() {
    let server = Server::alone(&[]).await;
    let database = fresh(&server).await;
    assert_eq!(number(&database, "SELECT 7").await.expect("an answer"), 7);
    server.restart().await.expect("a restart");
    assert_eq!(number(&database, "SELECT 8").await.expect("an answer"), 8);
    server.restart().await.expect("a restart");
    database.begin().await.expect("a transaction").commit().await.expect("its end");

    server.crash().expect("a crash");
    assert!(refusal(&database).await.contains("can't connect"));
    server.resume().await.expect("a start");
    assert_eq!(number(&database, "SELECT 9").await.expect("an answer"), 9);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn canceled_statement_frees_its_connection() {
    let server = Server::shared().await;
    let database = fresh(server).await;
    for _ in 0..5 {
        let slow = database.fetch_all(|| sqlx::query("SELECT pg_sleep(60)"));
        tokio::select! {
            _ = slow => panic!("it slept a minute"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    assert_eq!(number(&database, "SELECT 1").await.expect("an answer"), 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn pool_respects_max_connections() {
    const COUNT: &str = "SELECT count(*)::int FROM pg_stat_activity \
         WHERE datname = current_database() AND backend_type = 'client backend'";
    let server = Server::shared().await;
    let url = server.database().await.expect("a database");
    let database = Database::new(&settings(url), None).expect("a URL");
    for seen in join_all((0..20).map(|_| number(&database, COUNT))).await {
        assert!(seen.expect("an answer") <= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn connections_are_not_opened_in_vain_under_load() {
    let server = Server::shared().await;
    let (proxy, url) = server.database_behind_proxy().await.expect("a database");
    let database = Database::new(&settings(url), None).expect("a URL");
    let client = async || {
        for _ in 0..100 {
            number(&database, "SELECT 1").await.expect("an answer");
        }
    };
    join_all((0..20).map(|_| client())).await;
    assert!(proxy.accepted() <= 2, "{}", proxy.accepted());
}

#[tokio::test(start_paused = true)]
async fn connect_times_out_without_a_response() {
    let mute = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = mute.local_addr().expect("an address").port();
    let text = refusal(&at(&format!("postgres://a:s3cr3t@127.0.0.1:{port}/b"))).await;
    assert!(text.contains("the database b") && text.ends_with(": no response"), "{text}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn conflicts_are_retried_or_reported() {
    let server = Server::shared().await;
    let database = fresh(server).await;
    database
        .fetch_all(|| sqlx::query("CREATE TABLE counts AS SELECT 0 AS n"))
        .await
        .expect("a table");
    let mut first = database.begin().await.expect("a transaction");
    let mut second = database.begin().await.expect("a transaction");
    let add = "UPDATE counts SET n = (SELECT n + 1 FROM counts)";
    let read = "SELECT n FROM counts";
    first.fetch_all(sqlx::query(read)).await.expect("a row");
    second.fetch_all(sqlx::query(read)).await.expect("a row");
    first.fetch_all(sqlx::query(add)).await.expect("an update");
    first.commit().await.expect("a commit");
    let fault = second.fetch_all(sqlx::query(add)).await;
    assert!(matches!(fault, Err(DatabaseError::Conflict(_))), "{fault:?}");
    second.rollback().await.expect("an end");
    assert_eq!(number(&database, read).await.expect("a row"), 1);
}

fn migrations(names: &[&'static str]) -> Migrator {
    let migration = |(version, sql): (i64, &&'static str)| {
        let kind = MigrationType::Simple;
        Migration::new(version, "a step".into(), kind, sqlx::SqlStr::from_static(sql), false)
    };
    let mut migrator = Migrator::with_migrations((1..).zip(names).map(migration).collect());
    migrator.dangerous_set_table_name("test_migrations");
    migrator
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn concurrent_replicas_migrate_once_and_older_ones_still_start() {
    const STEPS: [&str; 2] = [
        "CREATE TABLE steps (n int); INSERT INTO steps SELECT 1 FROM pg_sleep(0.2)",
        "INSERT INTO steps VALUES (2)",
    ];
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let replica = |steps| {
        let database = Database::new(&settings, Some(migrations(steps))).expect("a URL");
        tokio::spawn(async move { number(&database, "SELECT count(*)::int FROM steps").await })
    };
    for count in join_all((0..8).map(|_| replica(&STEPS))).await {
        assert_eq!(count.expect("no panic").expect("an answer"), 2);
    }
    let count = replica(&STEPS[..1]).await;
    assert_eq!(count.expect("no panic").expect("an answer"), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn migrations_run_once_the_database_is_reachable() {
    let server = Server::alone(&[]).await;
    let settings = server.settings().await.expect("a database");
    server.crash().expect("a crash");
    let migrations = migrations(&["CREATE TABLE made AS SELECT 3 AS n"]);
    let database = Database::new(&settings, Some(migrations)).expect("a URL");
    assert!(refusal(&database).await.contains("can't connect"));
    server.resume().await.expect("a start");
    assert_eq!(number(&database, "SELECT n FROM made").await.expect("a row"), 3);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn failed_migration_is_named() {
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let migrations =
        migrations(&["CREATE TABLE made AS SELECT 3 AS n", "ALTER TABLE mad ADD m int"]);
    let database = Database::new(&settings, Some(migrations)).expect("a URL");
    let message = database.ping().await.expect_err("it should fail").to_string();
    assert!(message.contains("migration 2: relation \"mad\" does not exist"), "{message}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn clock_follows_the_database_not_the_machine() {
    let server = Server::shared().await;
    let database = Arc::new(fresh(server).await);
    let wrong = Arc::new(ManualClock::default());
    let clock = DatabaseClock::start(database, wrong.clone()).await;
    let (reported, true_time) = (clock.now(), SystemClock.now());
    let apart = reported.duration_since(true_time).abs();
    assert!(apart < Duration::from_millis(200).try_into().expect("short"), "{apart:?} apart");
    wrong.advance(Duration::from_hours(1));
    assert!(clock.now().duration_since(reported).as_secs() < 60, "it followed the machine's clock");
}

#[tokio::test]
async fn clock_continues_from_the_machine_without_a_database() {
    let machine = Arc::new(ManualClock::default());
    let database = Arc::new(at("postgres://a@127.0.0.1:1/b"));
    let clock = DatabaseClock::start(database, machine.clone()).await;
    let first = clock.now();
    assert!(first.duration_since(machine.now()).as_secs() < 60);
    assert!(clock.now() >= first);
}
