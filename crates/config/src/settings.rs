//! Values with their sources, for display.

use std::fmt::{self, Display};
use std::path::PathBuf;

/// A key with its value and the source of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub key: String,
    /// The value for display, with secrets hidden.
    pub value: String,
    pub source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A file that an environment variable names.
    SecretFile {
        variable: String,
        path: PathBuf,
    },
    /// The program itself.
    Program,
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Variable(name) => write!(f, "the environment ({name})"),
            Self::SecretFile { variable, path } => {
                write!(f, "the file {} that {variable} names", path.display())
            }
            Self::Program => f.write_str("the program"),
        }
    }
}
