//! Opens the file and applies migrations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use miniapp_runtime::data_dir;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::{DatabaseError, Schema, WriteLock};

/// Maximum number of concurrent queries.
const MAX_READERS: u32 = 3;
/// How long a statement waits for another writer of the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens or creates the file of a `sqlite://PATH` URL, applies the migrations of `schema`, and
/// returns the writing connection and a pool of reading ones. `tune` adds settings of the store.
///
/// With `fsync` a commit survives a power failure, without it only a crash of the process.
pub async fn open(
    url: &str,
    fsync: bool,
    tune: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
    schema: &Schema,
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
    migrate(&mut writer, schema).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(MAX_READERS)
        .connect_with(options.clone().create_if_missing(false).read_only(true))
        .await?;
    Ok((WriteLock::new(options, writer), readers))
}

/// Connects, and waits while another process switches a new file to WAL mode, which the busy
/// timeout does not cover.
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

/// Applies migrations in one transaction, so that processes that start together take turns.
async fn migrate(writer: &mut SqliteConnection, schema: &Schema) -> Result<(), DatabaseError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let migrated = schema.migrations().run(&mut *transaction).await;
    migrated.map_err(|error| DatabaseError::Internal(error.to_string()))?;
    Ok(transaction.commit().await?)
}

/// Returns the file of a `sqlite://PATH` URL.
pub fn file_of(url: &str) -> Result<PathBuf, DatabaseError> {
    let options: SqliteConnectOptions = url.parse()?;
    Ok(options.get_filename().to_owned())
}

/// Returns the URL of a file.
pub fn url_of(file: &Path) -> String {
    // What ends or escapes the path of a URL.
    let path = file.display().to_string().replace('%', "%25").replace('?', "%3f");
    format!("sqlite://{path}")
}

#[cfg(test)]
mod tests {
    use sqlx::SqlStr;
    use sqlx::migrate::{Migration, MigrationType, Migrator};

    use super::*;

    fn schema(migrations: &[&'static str]) -> Schema {
        let migrations = migrations.iter().zip(1..).map(|(sql, version)| {
            let sql = SqlStr::from_static(sql);
            Migration::new(version, "a step".into(), MigrationType::Simple, sql, false)
        });
        Schema::new("test_migrations", Migrator::with_migrations(migrations.collect()))
    }

    #[tokio::test]
    async fn previous_release_opens_a_newer_file() {
        const STEPS: [&str; 2] = ["CREATE TABLE a (x)", "CREATE TABLE b (x)"];
        let directory = tempfile::tempdir().expect("a directory");
        let url = url_of(&directory.path().join("a.db"));
        for steps in [&STEPS[..], &STEPS[..1]] {
            let opened = open(&url, false, |options| options, &schema(steps)).await;
            opened.expect("a compatible file").1.close().await;
        }
    }

    #[test]
    fn url_of_a_file_names_it() {
        for path in ["/var/lib/m.db", "/a b/100%?/m%41.db", "relative/m.db"] {
            assert_eq!(file_of(&url_of(Path::new(path))).expect("a URL"), Path::new(path));
        }
    }
}
