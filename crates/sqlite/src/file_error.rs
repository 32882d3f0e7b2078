//! Errors of backups and of the files that they replace.

use std::io;
use std::path::{Path, PathBuf};

/// Why a database cannot be copied, checked or replaced.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} exists already; choose another file", _0.display())]
    Exists(PathBuf),
    #[error("cannot read {}: {reason}", file.display())]
    Read { file: PathBuf, reason: String },
    #[error("cannot write {}: {reason}", file.display())]
    Write { file: PathBuf, reason: String },
    #[error("{} is no SQLite database", _0.display())]
    NoDatabase(PathBuf),
    #[error("{} is damaged: {reason}", file.display())]
    Damaged { file: PathBuf, reason: String },
    #[error("{} is a database of another program: it has no table {table}", file.display())]
    Foreign { file: PathBuf, table: &'static str },
    #[error(
        "{} is of a newer version of this program, which has migration {version} of {table}; use \
         that version",
        file.display()
    )]
    Newer { file: PathBuf, table: &'static str, version: i64 },
    #[error(
        "{} is of another build of this program: its migration {version} of {table} differs",
        file.display()
    )]
    Different { file: PathBuf, table: &'static str, version: i64 },
    #[error(
        "{} is a copy of an open database: its latest changes are in the file {} beside it",
        file.display(), log.display()
    )]
    Incomplete { file: PathBuf, log: PathBuf },
    #[error("another process uses the database {}; stop it first", _0.display())]
    InUse(PathBuf),
}

/// The primary result codes of SQLite that lead to different advice.
const BUSY: u32 = 5;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;

impl FileError {
    pub(crate) fn read(file: &Path, error: &impl ToString) -> Self {
        Self::Read { file: file.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn write(file: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists(file.to_owned()),
            _ => Self::Write { file: file.to_owned(), reason: error.to_string() },
        }
    }

    /// An error of a statement that reads `file`.
    pub(crate) fn reading(file: &Path, error: &sqlx::Error) -> Self {
        let file = file.to_owned();
        match primary_code(error) {
            Some(BUSY) => Self::InUse(file),
            Some(NOT_A_DATABASE) => Self::NoDatabase(file),
            Some(CORRUPT) => Self::Damaged { file, reason: text(error) },
            _ => Self::Read { file, reason: text(error) },
        }
    }

    /// An error of a statement that reads `from` and writes `to`.
    pub(crate) fn copying(from: &Path, to: &Path, error: &sqlx::Error) -> Self {
        match primary_code(error) {
            Some(BUSY | CORRUPT | NOT_A_DATABASE) => Self::reading(from, error),
            Some(FULL) => {
                let reason = "the disk is full".to_owned();
                Self::Write { file: to.to_owned(), reason }
            }
            _ => Self::Write { file: to.to_owned(), reason: text(error) },
        }
    }
}

/// The message of SQLite, without what sqlx adds to it.
fn text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        error => error.to_string(),
    }
}

/// Extended result codes contain the primary one in their last byte.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
