//! What the machine could do at best: a server that does nothing, and rows that mean
//! nothing. The platform's figures are read against these.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, QueryBuilder};
use tokio::net::TcpListener;

use super::http::Target;
use super::load::{self, Loaded, Times, per_second};

/// Rows in one transaction, about as many as the platform combines under load.
const BATCH: u32 = 500;
const BATCHES: u32 = 200;
/// About what a task and its timeline take.
const ROW_BYTES: usize = 600;
const COMMITS: u32 = 300;

/// What SQLite did.
#[derive(Debug)]
pub struct Rows {
    /// Rows a second in batches.
    pub per_second: f64,
    /// How long the commit of a single row took.
    pub commit: Times,
}

/// Requests a second to a bare axum server in this process, by the same generator.
pub async fn hello_world(clients: u16, requests: u64) -> anyhow::Result<Loaded> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let target = Target::new(listener.local_addr()?, None)?;
    let router = Router::new().route("/", get(|| async { "hello, world" }));
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let requester = target.clone();
    let loaded = load::run(&target, clients, requests, move |_| requester.get("/"), |_| None).await;
    server.abort();
    loaded
}

/// Rows into a file in `directory`, with a commit as durable as the platform's.
pub async fn sqlite_rows(directory: &Path, synchronous: SqliteSynchronous) -> anyhow::Result<Rows> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join("limit.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous);
    let mut connection =
        SqliteConnection::connect_with(&options).await.context("can't make a file for SQLite")?;
    connection
        .execute("CREATE TABLE row (id INTEGER PRIMARY KEY, owner INTEGER, body BLOB); CREATE INDEX row_owner ON row (owner, id)")
        .await?;
    let body = vec![7_u8; ROW_BYTES];
    let begin = Instant::now();
    for _ in 0..BATCHES {
        insert(&mut connection, BATCH, &body).await?;
    }
    let per_second = per_second(u64::from(BATCH * BATCHES), begin.elapsed());
    let mut commit = Times::default();
    for _ in 0..COMMITS {
        let begin = Instant::now();
        insert(&mut connection, 1, &body).await?;
        commit.record(begin.elapsed());
    }
    connection.close().await?;
    Ok(Rows { per_second, commit })
}

async fn insert(connection: &mut SqliteConnection, rows: u32, body: &[u8]) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    let mut statement = QueryBuilder::new("INSERT INTO row (owner, body) ");
    statement.push_values(0..rows, |mut row, number| {
        row.push_bind(i64::from(number % 7)).push_bind(body);
    });
    statement.build().execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_load_reaches_a_server_and_counts_its_answers() {
        let loaded = hello_world(4, 200).await.expect("answers");
        assert_eq!(loaded.times.count(), 200);
        assert!(loaded.rate() > 0.0);
    }
}
