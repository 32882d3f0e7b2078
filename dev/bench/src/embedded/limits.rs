//! The limit of the machine for SQLite: rows without meaning.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, QueryBuilder};

use crate::load::{Latencies, per_second};

/// Rows in one transaction, about as many as the platform batches under load.
const BATCH_SIZE: u32 = 500;
const BATCHES: u32 = 200;
/// About the size of a task with its timeline.
const ROW_BYTES: usize = 600;
const COMMITS: u32 = 300;

/// What SQLite achieved.
#[derive(Debug)]
pub struct Rows {
    /// Rows per second in batches.
    pub per_second: f64,
    /// Latency of the commit of a single row.
    pub commit: Latencies,
}

/// Inserts rows into a file in `directory`, with commits as durable as the platform's
/// (`database.synchronous = "full"`).
pub async fn insert_rows(directory: &Path) -> anyhow::Result<Rows> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join("limit.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection =
        SqliteConnection::connect_with(&options).await.context("cannot create an SQLite file")?;
    connection
        .execute(
            "CREATE TABLE row (id INTEGER PRIMARY KEY, owner INTEGER, body BLOB); \
             CREATE INDEX row_owner ON row (owner, id)",
        )
        .await?;
    let body = vec![7_u8; ROW_BYTES];
    let start = Instant::now();
    for _ in 0..BATCHES {
        insert(&mut connection, BATCH_SIZE, &body).await?;
    }
    let per_second = per_second(u64::from(BATCH_SIZE * BATCHES), start.elapsed());
    let mut commit = Latencies::default();
    for _ in 0..COMMITS {
        let start = Instant::now();
        insert(&mut connection, 1, &body).await?;
        commit.record(start.elapsed());
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
