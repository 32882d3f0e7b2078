//! The directory where a process keeps its files, and the claim to be alone there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};

/// A directory that this process alone works in, for as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock ends with the file, however the process ends.
    _lock: File,
}

/// Why the directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It can't be made, read or written.
    #[error("can't use the data directory {}: {source}; set MINIAPP__DATA_DIR to another", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process is there.
    #[error(
        "another process uses the data directory {}; stop it, or set MINIAPP__DATA_DIR to another",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

impl DataDir {
    /// Makes the directory where it is missing, for its owner alone, and claims it.
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
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DataDirError::InUse { path: path.to_owned() });
            }
            Err(error) => return Err(unusable(error.into())),
        }
        probe(path).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the directory `path` where it is missing, for its owner alone.
pub fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the file of a database where it is missing, and the directory too, for their
/// owner alone; fails where it can't be written, which SQLite would put up with.
///
/// The files beside it get its mode. What is there isn't opened: to close it would end the
/// locks that this process has on it.
pub fn create_database(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        create(directory)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(access(path, Access::READ_OK | Access::WRITE_OK)?)
        }
        made => made.map(drop),
    }
}

/// Writes a file that must not be there yet, for its owner alone, so that it is either
/// whole or missing. Where another process was faster, its content stays.
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

/// A lock can be had on a full or read-only disk as well; better told now than later.
fn probe(path: &Path) -> io::Result<()> {
    let probe = path.join(".probe");
    std::fs::write(&probe, b"can it be written?")?;
    std::fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn only_one_has_a_directory() {
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
    fn what_cant_be_written_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        let text = DataDir::lock(&file.join("sub")).expect_err("no directory").to_string();
        assert!(text.contains("MINIAPP__DATA_DIR") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn a_database_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/a.db");
        create_database(&path).expect("made");
        assert_eq!(mode(&path), 0o600);
        std::fs::write(&path, b"content").expect("written");
        create_database(&path).expect("left as it is");
        assert_eq!(std::fs::read(&path).expect("there"), b"content");
        assert!(create_database(&path.join("no-directory/a.db")).is_err());
    }

    #[test]
    fn a_database_that_cant_be_written_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.db");
        create_database(&path).expect("made");
        let read_only = std::fs::Permissions::from_mode(0o400);
        std::fs::set_permissions(&path, read_only).expect("set");
        // Whoever may write everything, may write this as well.
        let may_write = OpenOptions::new().write(true).open(&path).is_ok();
        assert_eq!(create_database(&path).is_ok(), may_write);
    }

    #[test]
    fn the_first_to_write_a_new_file_wins() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        write_new(&path, b"one").expect("written");
        write_new(&path, b"two").expect("kept");
        assert_eq!(std::fs::read(&path).expect("there"), b"one");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }
}
