//! Private files of a process, and the lock on their directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// A directory that one process alone uses, for as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The system releases the lock with the file, however the process ends.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("can't use the data directory {}: {source}; set MINIAPP__DATA_DIR to another", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "another process uses the data directory {}; stop it, or set MINIAPP__DATA_DIR to another",
        path.display()
    )]
    InUse { path: PathBuf },
}

impl DataDir {
    /// Creates the directory if it is missing, for its owner alone, and locks it.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        create(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DataDirError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => unusable(source),
        })?;
        probe(path).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates the directory `path` if it is missing, for its owner alone.
pub fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates the file of a database and its directory if they are missing, for their owner
/// alone. Fails if the file is not writable, which SQLite would accept.
///
/// SQLite gives its other files the same mode. An existing file is not opened: closing it
/// would release the locks that this process holds on it.
pub fn create_database(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        create(directory)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(access(path, Access::READ_OK | Access::WRITE_OK)?)
        }
        created => created.map(drop),
    }
}

/// Creates a file with `content`, for its owner alone. The file is either complete or missing,
/// and a file that exists is left unchanged.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let removed = std::fs::remove_file(&temporary);
    written.and(removed)
}

/// Fails on a full or read-only disk, where locking succeeds.
fn probe(path: &Path) -> io::Result<()> {
    let probe = path.join(".probe");
    std::fs::write(&probe, b"probe")?;
    std::fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn lock_is_exclusive() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/b");
        let first = DataDir::lock(&path).expect("free");
        assert_eq!((first.path(), mode(&path)), (&*path, 0o700));
        let text = DataDir::lock(&path).expect_err("in use").to_string();
        assert!(text.contains("another process") && text.lines().count() == 1, "{text}");
        drop(first);
        assert!(DataDir::lock(&path).is_ok());
    }

    #[test]
    fn unusable_directory_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        let text = DataDir::lock(&file.join("sub")).expect_err("no directory").to_string();
        assert!(text.contains("MINIAPP__DATA_DIR") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn database_is_private_to_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/a.db");
        create_database(&path).expect("created");
        assert_eq!(mode(&path), 0o600);
        std::fs::write(&path, b"content").expect("written");
        create_database(&path).expect("unchanged");
        assert_eq!(std::fs::read(&path).expect("exists"), b"content");
        assert!(create_database(&path.join("no-directory/a.db")).is_err());
    }

    #[test]
    fn read_only_database_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.db");
        create_database(&path).expect("created");
        let read_only = std::fs::Permissions::from_mode(0o400);
        std::fs::set_permissions(&path, read_only).expect("set");
        // Root may write any file.
        let is_writable = OpenOptions::new().write(true).open(&path).is_ok();
        assert_eq!(create_database(&path).is_ok(), is_writable);
    }

    #[test]
    fn write_new_keeps_an_existing_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        write_new(&path, b"one").expect("written");
        write_new(&path, b"two").expect("kept");
        assert_eq!(std::fs::read(&path).expect("exists"), b"one");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }
}
