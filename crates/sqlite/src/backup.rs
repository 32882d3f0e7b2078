//! Consistent copies of a database that is in use.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::{TempDir, TempPath};

use crate::FileError;
use crate::schema::{Compatibility, Schema};

/// Writes a copy of `database` to the new file `target`, and returns its size.
///
/// The copy is a snapshot: it has all of each transaction or nothing. Other processes may read and
/// write meanwhile. The target is complete and checked when it appears, and readable by its owner
/// only.
pub async fn back_up(database: &Path, target: &Path, schemas: &[Schema]) -> Result<u64, FileError> {
    if target.symlink_metadata().is_ok() {
        return Err(FileError::Exists(target.to_owned()));
    }
    // Without this, SQLite's error for a file that cannot be opened has no reason.
    File::open(database).map_err(|error| FileError::read(database, &error))?;
    let at_target = |error| FileError::write(target, &error);
    let folder = folder_of(target);
    // In the same folder, so that the copy can be renamed. SQLite's other files go with it.
    let temporary = private_folder(folder, ".backup-").map_err(at_target)?;
    let copy = temporary.path().join("copy");
    create_private(&copy).map_err(at_target)?;
    copy_snapshot(database, &copy, target).await?;
    check_as(&copy, target, schemas).await?;
    let file = File::open(&copy).map_err(at_target)?;
    file.sync_all().map_err(at_target)?;
    let size = file.metadata().map_err(at_target)?.len();
    let persisted = TempPath::try_from_path(copy).map_err(at_target)?.persist_noclobber(target);
    persisted.map_err(|error| at_target(error.error))?;
    sync(folder).map_err(at_target)?;
    Ok(size)
}

/// Checks that `file` is intact and has the tables of `schemas`, none of them newer. No process may
/// change it meanwhile.
pub async fn check(file: &Path, schemas: &[Schema]) -> Result<(), FileError> {
    check_as(file, file, schemas).await
}

/// Like [`check`], for a copy that is reported as `name`.
pub(crate) async fn check_as(
    file: &Path,
    name: &Path,
    schemas: &[Schema],
) -> Result<(), FileError> {
    let reading = |error: sqlx::Error| FileError::reading(name, &error);
    // Immutable: reading leaves no other files beside it.
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut connection = options.disable_statement_logging().connect().await.map_err(reading)?;
    let checked = check_open(&mut connection, name, schemas).await;
    connection.close().await.map_err(reading)?;
    checked
}

async fn check_open(
    connection: &mut SqliteConnection,
    name: &Path,
    schemas: &[Schema],
) -> Result<(), FileError> {
    let reading = |error: sqlx::Error| FileError::reading(name, &error);
    let found = sqlx::query_scalar::<_, String>("PRAGMA integrity_check(1)");
    let found = found.fetch_one(&mut *connection).await.map_err(reading)?;
    if found != "ok" {
        let reason = found.replace('\n', " ");
        return Err(FileError::Damaged { file: name.to_owned(), reason });
    }
    let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection);
    if !orphans.await.map_err(reading)?.is_empty() {
        let reason = "a row refers to a row that is missing".to_owned();
        return Err(FileError::Damaged { file: name.to_owned(), reason });
    }
    for schema in schemas {
        let (file, table) = (name.to_owned(), schema.table());
        let compared = schema.compare(connection).await;
        match compared.map_err(|error| FileError::read(name, &error))? {
            Compatibility::Known => {}
            Compatibility::Missing => return Err(FileError::Foreign { file, table }),
            Compatibility::Newer(version) => {
                return Err(FileError::Newer { file, table, version });
            }
            Compatibility::Different(version) => {
                return Err(FileError::Different { file, table, version });
            }
        }
    }
    Ok(())
}

/// `VACUUM INTO` copies within one read transaction.
async fn copy_snapshot(database: &Path, copy: &Path, target: &Path) -> Result<(), FileError> {
    let failed = |error: sqlx::Error| FileError::copying(database, target, &error);
    let path = copy.to_str().ok_or(io::ErrorKind::InvalidFilename);
    let path = path.map_err(|kind| FileError::write(target, &kind.into()))?;
    // Not read-only: after a crash the write-ahead log has to be recovered first.
    let options = SqliteConnectOptions::new().filename(database).disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    let copied = sqlx::query("VACUUM INTO $1").bind(path).execute(&mut connection).await;
    let closed = connection.close().await;
    copied.map_err(failed)?;
    closed.map_err(failed)
}

pub(crate) fn create_private(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(file)
}

pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes renamed files of a folder durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a temporary folder for its owner alone.
pub(crate) fn private_folder(folder: &Path, prefix: &str) -> io::Result<TempDir> {
    let permissions = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(permissions).tempdir_in(folder)
}

/// Returns the file that SQLite keeps beside a database, such as `-wal`.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Returns whether a write-ahead log beside the file has content.
pub(crate) fn has_log(database: &Path) -> bool {
    fs::metadata(beside(database, "-wal")).is_ok_and(|log| log.len() > 0)
}
