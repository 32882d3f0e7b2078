//! Replaces a database by a copy of a backup.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::backup::{beside, check_as, create_private, folder_of, has_log, private_folder, sync};
use crate::{FileError, Schema};

/// The first bytes of every SQLite database.
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// How long to wait for a process that is closing the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// A copy of a backup, in a private folder beside the database that it replaces. It can be changed
/// before it is [installed](Self::install).
#[derive(Debug)]
pub struct Replacement {
    /// Removed with everything in it.
    folder: TempDir,
    database: PathBuf,
}

impl Replacement {
    /// Copies and checks `backup`. Leaves nothing behind if it is dropped.
    pub async fn prepare(
        backup: &Path,
        database: &Path,
        schemas: &[Schema],
    ) -> Result<Self, FileError> {
        let source = tokio::fs::File::open(backup).await;
        let mut source = source.map_err(|error| FileError::read(backup, &error))?;
        if has_log(backup) {
            let log = beside(backup, "-wal");
            return Err(FileError::Incomplete { file: backup.to_owned(), log });
        }
        let at_database = |error| FileError::write(database, &error);
        let folder = private_folder(folder_of(database), ".restore-").map_err(at_database)?;
        let replacement = Self { folder, database: database.to_owned() };
        let file = replacement.file();
        let mut copy = tokio::fs::File::from_std(create_private(&file).map_err(at_database)?);
        tokio::io::copy(&mut source, &mut copy).await.map_err(at_database)?;
        copy.flush().await.map_err(at_database)?;
        check_as(&file, backup, schemas).await?;
        Ok(replacement)
    }

    /// Returns the file of the copy.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }

    /// Puts the copy in the place of the database, which is kept as the new file `aside`. At any
    /// time there is one of the two. Nobody may have the copy open, and [`close_log`] must have
    /// succeeded or the database must be unreadable.
    pub async fn install(self, aside: &Path) -> Result<(), FileError> {
        let Self { folder, database } = self;
        let copy = folder.path().join("copy.db");
        close_log(&copy).await?;
        let at_database = |error| FileError::write(&database, &error);
        File::open(&copy).and_then(|file| file.sync_all()).map_err(at_database)?;
        if database.try_exists().map_err(at_database)? {
            fs::hard_link(&database, aside).map_err(|error| FileError::write(aside, &error))?;
        }
        // These belong to a database that was not readable. SQLite would apply them to the copy.
        for suffix in ["-wal", "-shm", "-journal"] {
            match fs::rename(beside(&database, suffix), beside(aside, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at_database(error));
                }
                _ => {}
            }
        }
        fs::rename(&copy, &database).map_err(at_database)?;
        sync(folder_of(&database)).map_err(at_database)
    }
}

/// Moves the write-ahead log into the database, which is then a single file.
///
/// # Errors
///
/// Returns [`FileError::InUse`] if another process has the database open.
pub async fn close_log(database: &Path) -> Result<(), FileError> {
    let failed = |error: sqlx::Error| FileError::reading(database, &error);
    // SQLite would delete the log of a file that is no database.
    if !has_header(database).map_err(|error| FileError::read(database, &error))? {
        return Err(FileError::NoDatabase(database.to_owned()));
    }
    let options = SqliteConnectOptions::new().filename(database).busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    // Takes an exclusive lock.
    let mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode = DELETE");
    let mode = mode.fetch_one(&mut connection).await;
    let closed = connection.close().await;
    if mode.map_err(failed)? != "delete" {
        return Err(FileError::InUse(database.to_owned()));
    }
    closed.map_err(failed)
}

fn has_header(file: &Path) -> io::Result<bool> {
    let mut header = Vec::with_capacity(HEADER.len());
    let mut file = File::options().read(true).write(true).open(file)?.take(HEADER.len() as u64);
    file.read_to_end(&mut header)?;
    Ok(header == HEADER)
}
