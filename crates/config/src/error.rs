//! Why a configuration is refused, each in one line that says what to do.

use std::path::PathBuf;

use super::layers::variable_of;
use super::settings::Source;

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A key that nobody knows.
    #[error("unknown setting {name} in {origin}{}", suggestion(nearest.as_deref()))]
    Unknown {
        /// As it was written.
        name: String,
        /// Where it stands.
        origin: Source,
        /// The known one that looks most like it, written the same way.
        nearest: Option<String>,
    },
    /// A value that can't be used.
    #[error("{key} ({}) {message}; it comes from {origin}", variable_of(key))]
    Invalid {
        /// The key.
        key: String,
        /// Where the value came from.
        origin: Source,
        /// What is wrong, to follow the key.
        message: String,
    },
    /// A secret given twice.
    #[error("{variable} and {variable}_FILE are both set; keep one of them")]
    Twice {
        /// The variable.
        variable: String,
    },
    /// The home directory is unknown.
    #[error("can't tell where files go: set MINIAPP__DATA_DIR, or HOME")]
    NoDataDir,
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}
