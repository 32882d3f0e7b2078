//! The file: made, and brought up to date.

use std::time::Duration;

use kit::data_dir;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::store::{Result, StoreError};

/// How long a statement waits for another process or crate that writes the same file.
const BUSY: Duration = Duration::from_secs(5);

/// A connection that writes, and how it was made.
pub(super) async fn open(
    url: &str,
    fsync: bool,
) -> Result<(SqliteConnectOptions, SqliteConnection)> {
    let synchronous = if fsync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let options: SqliteConnectOptions = url.parse()?;
    data_dir::create_database(options.get_filename())
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .disable_statement_logging();
    let mut writer = connect(&options).await?;
    let mut migrator: Migrator = sqlx::migrate!("migrations/sqlite");
    // Other crates keep their tables, and their own count of migrations, in this file.
    migrator.dangerous_set_table_name("accounts_migrations");
    // One process after the other, as all of them may start with a new file at once.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let migrated = migrator.run(&mut *transaction).await;
    migrated.map_err(|error| StoreError::Broken(error.to_string()))?;
    transaction.commit().await?;
    Ok((options, writer))
}

/// A connection, as soon as no other process turns the new file to WAL mode: the timeout
/// for busy files doesn't cover that.
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    const IS_BUSY: &str = "5";
    let deadline = Instant::now() + BUSY;
    loop {
        match options.connect().await {
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(IS_BUSY) && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(10)).await;
            }
            connected => return connected,
        }
    }
}
