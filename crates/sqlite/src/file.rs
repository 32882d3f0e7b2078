//! The file: made, and brought up to date.

use std::time::Duration;

use miniapp_runtime::data_dir;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::{DatabaseError, WriteLock};

/// How many queries run at the same time.
const MAX_READERS: u32 = 3;
/// How long a statement waits for another process or crate that writes the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the file that a `sqlite://PATH` URL names, made where it is missing, with the
/// tables that `migrations` make: the connection that writes, and those that read. `tune`
/// sets what the store wants besides.
///
/// With `fsync` a commit survives the loss of power, without it only that of the process.
pub async fn open(
    url: &str,
    fsync: bool,
    tune: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
    migrations: &Migrator,
) -> Result<(WriteLock, SqlitePool), DatabaseError> {
    let synchronous = if fsync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let options: SqliteConnectOptions = url.parse()?;
    data_dir::create_database(options.get_filename())
        .map_err(|error| DatabaseError::Unavailable(error.to_string()))?;
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let options = tune(options);
    let mut writer = connect(&options).await?;
    migrate(&mut writer, migrations).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(MAX_READERS)
        .connect_with(options.clone().create_if_missing(false).read_only(true))
        .await?;
    Ok((WriteLock::new(options, writer), readers))
}

/// A connection, as soon as no other process turns the new file to WAL mode: the timeout
/// for busy files doesn't cover that.
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    const IS_BUSY: &str = "5";
    let deadline = Instant::now() + BUSY_TIMEOUT;
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

/// Brings the tables up to date, one process after the other, as all of them may start with
/// a new file at once.
async fn migrate(
    writer: &mut SqliteConnection,
    migrations: &Migrator,
) -> Result<(), DatabaseError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let migrated = migrations.run(&mut *transaction).await;
    migrated.map_err(|error| DatabaseError::Internal(error.to_string()))?;
    Ok(transaction.commit().await?)
}
