//! Directories for servers.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The path of a Unix socket has at most 107 bytes on Linux and 103 on macOS; a server adds names
/// of its own to the directory.
const MAX_LENGTH: usize = 50;

/// Creates a directory with a path that is short enough for sockets. A longer `TMPDIR` is not
/// used.
pub(crate) fn directory(prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir_in(parent(std::env::temp_dir()))
}

fn parent(temporary: PathBuf) -> PathBuf {
    let is_short = temporary.as_os_str().len() <= MAX_LENGTH;
    if is_short { temporary } else { Path::new("/tmp").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_temporary_directory_is_replaced() {
        assert_eq!(parent("/var/tmp".into()), Path::new("/var/tmp"));
        assert_eq!(parent(format!("/{}", "x".repeat(100)).into()), Path::new("/tmp"));
    }
}
