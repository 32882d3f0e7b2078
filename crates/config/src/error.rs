//! Errors of the configuration, one line each.

use std::path::PathBuf;

use crate::settings::Source;

/// The prefix of the environment variables.
pub(crate) const PREFIX: &str = "MINIAPP__";

/// Returns the environment variable of a key.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("can't read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is not TOML: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("unknown setting {name} in {origin}{}", suggestion(nearest.as_deref()))]
    Unknown {
        /// The key or variable as it was written.
        name: String,
        origin: Source,
        /// The most similar known one, in the same notation.
        nearest: Option<String>,
    },
    #[error("{key} ({}) {message}; it comes from {origin}", variable_of(key))]
    Invalid {
        key: String,
        origin: Source,
        /// A predicate, such as "must not be empty".
        message: String,
    },
    #[error("{variable} and {variable}_FILE are both set; keep one of them")]
    Twice { variable: String },
    #[error("can't tell where files go: set MINIAPP__DATA_DIR, or HOME")]
    NoDataDir,
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}
