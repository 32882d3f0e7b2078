//! The lock of a process that uses the file alone. The system releases it however the process
//! ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::engine::LeaseHolder;

/// A locked file beside a database.
pub struct ProcessLock {
    path: PathBuf,
    held: Mutex<Option<File>>,
    refusals: AtomicU64,
}

impl ProcessLock {
    /// The lock of a `database`: a file beside it, so that SQLite's own locks are left alone.
    pub fn beside(database: &Path) -> Self {
        // A link names the same database.
        let mut path =
            database.canonicalize().unwrap_or_else(|_| database.to_owned()).into_os_string();
        path.push("-process");
        Self { path: path.into(), held: Mutex::default(), refusals: AtomicU64::new(0) }
    }

    /// Takes the lock, or returns its holder. A holder that is found twice counts as
    /// renewed, because it lives as long as it holds the lock.
    pub fn take(&self, process: &str) -> io::Result<Option<LeaseHolder>> {
        let mut held = self.held.lock();
        if held.is_some() {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false).mode(0o600);
        let mut file = options.open(&self.path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.write_all(process.as_bytes())?;
                *held = Some(file);
                Ok(None)
            }
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                file.read_to_string(&mut process)?;
                let renewals = self.refusals.fetch_add(1, Ordering::Relaxed);
                Ok(Some(LeaseHolder { process, renewals }))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Releases the lock if this process holds it.
    pub fn release(&self) {
        self.held.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_the_same_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let (database, link) = (folder.path().join("a.db"), folder.path().join("link.db"));
        std::fs::write(&database, "").expect("a file");
        std::os::unix::fs::symlink(&database, &link).expect("a link");
        let lock = ProcessLock::beside(&database);
        assert!(lock.take("first").expect("a lock").is_none());
        let holder = ProcessLock::beside(&link).take("second").expect("a lock");
        assert_eq!(holder.expect("a holder").process, "first");
    }
}
