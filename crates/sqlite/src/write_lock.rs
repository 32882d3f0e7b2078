//! The writing connection, replaced after it is lost.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

/// Exclusive access to the only writing connection.
pub struct WriteLock {
    options: SqliteConnectOptions,
    /// `None` after it was closed.
    connection: Mutex<Option<SqliteConnection>>,
}

impl WriteLock {
    /// Uses `connection`, and opens replacements with `options`.
    pub fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self { options, connection: Mutex::new(Some(connection)) }
    }

    /// Waits for the connection. It is outside of any transaction.
    pub async fn lock(&self) -> sqlx::Result<MappedMutexGuard<'_, SqliteConnection>> {
        let mut connection = self.connection.lock().await;
        let is_usable = match connection.as_mut() {
            Some(connection) => !is_lost(connection).await,
            None => false,
        };
        if !is_usable {
            *connection = Some(self.options.connect().await?);
        }
        let mapped = MutexGuard::try_map(connection, Option::as_mut);
        mapped.map_err(|_| sqlx::Error::WorkerCrashed)
    }

    /// Closes the connection. A later [`lock`](Self::lock) opens another one.
    ///
    /// SQLite moves the write-ahead log into the database when the last connection is closed, of
    /// all processes. Requesting that here would block the others.
    pub async fn close(&self) -> sqlx::Result<()> {
        match self.connection.lock().await.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

/// Returns whether a connection is unusable.
///
/// On a full or failing disk, SQLite may roll back on its own. sqlx then fails to end the
/// transaction, considers it open forever and refuses to begin another one.
async fn is_lost(connection: &mut SqliteConnection) -> bool {
    if !connection.is_in_transaction() {
        return false;
    }
    // A dropped transaction is rolled back before the ping is answered.
    connection.ping().await.is_err() || connection.is_in_transaction()
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteJournalMode;
    use sqlx::{AssertSqlSafe, Executor as _};

    use super::*;

    #[tokio::test]
    async fn lock_reconnects_after_a_full_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join("a.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let mut connection = options.connect().await.expect("a file");
        connection.execute("CREATE TABLE t (x BLOB)").await.expect("made");
        // Simulates a full disk for this connection only.
        let pages = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut connection).await;
        let limit = format!("PRAGMA max_page_count = {}", pages.unwrap_or(0_i64));
        connection.execute(AssertSqlSafe(limit)).await.expect("set");
        let lock = WriteLock::new(options, connection);

        let mut writer = lock.lock().await.expect("a connection");
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.expect("begun");
        let full = transaction.execute("INSERT INTO t VALUES (zeroblob(100000))").await;
        assert!(full.is_err(), "{full:?}");
        drop(transaction);
        drop(writer);

        for _ in 0..2 {
            let mut writer = lock.lock().await.expect("a connection");
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.expect("begun");
            let written = transaction.execute("INSERT INTO t VALUES (zeroblob(100000))").await;
            assert_eq!(written.expect("room").rows_affected(), 1);
            transaction.commit().await.expect("committed");
        }
        let mut writer = lock.lock().await.expect("a connection");
        let kept =
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM t").fetch_one(&mut *writer).await;
        assert_eq!(kept.expect("readable"), 2);
    }

    #[tokio::test]
    async fn last_close_leaves_no_write_ahead_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.db");
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let lock = WriteLock::new(options.clone(), options.connect().await.expect("a file"));
        lock.lock().await.expect("a connection").execute("CREATE TABLE t (x)").await.expect("made");
        // Another store of the process has the file open.
        let mut other = options.connect().await.expect("a file");
        other.execute("SELECT * FROM t").await.expect("readable");
        let log = directory.path().join("a.db-wal");
        assert!(log.metadata().expect("a log").len() > 0);
        lock.close().await.expect("closed");
        lock.close().await.expect("closed already");
        assert!(log.metadata().expect("a log").len() > 0, "closed for the other one, too");
        // A later use opens another connection.
        lock.lock().await.expect("a connection").execute("SELECT * FROM t").await.expect("there");
        other.close().await.expect("closed");
        assert!(log.exists());
        lock.close().await.expect("closed");
        assert!(!log.exists());
    }

    #[tokio::test]
    async fn lock_keeps_the_connection_after_a_dropped_transaction() {
        let options = SqliteConnectOptions::new().in_memory(true);
        let connection = options.connect().await.expect("a store");
        let lock = WriteLock::new(options, connection);
        let mut writer = lock.lock().await.expect("a connection");
        writer.execute("CREATE TABLE t (x)").await.expect("made");
        let mut transaction = writer.begin().await.expect("begun");
        transaction.execute("INSERT INTO t VALUES (1)").await.expect("written");
        drop(transaction);
        drop(writer);
        // A new connection would open another, empty database.
        let mut writer = lock.lock().await.expect("a connection");
        let kept =
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM t").fetch_one(&mut *writer).await;
        assert_eq!(kept.expect("the same store"), 0);
    }
}
