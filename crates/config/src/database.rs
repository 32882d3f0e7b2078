//! The section `database`, shared by all stores.

use serde::Deserialize;

use crate::values::optional;
use crate::{ConfigError, EngineUrl, Section, Validator};

#[derive(Clone, Debug, Deserialize)]
pub struct Database {
    pub url: EngineUrl,
    /// The host of a connection pooler in front of a PostgreSQL server.
    #[serde(deserialize_with = "optional")]
    pub pooler: Option<String>,
    pub synchronous: Synchronous,
    pub connections: u32,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The disk.
    Full,
    /// The operating system.
    Normal,
}

impl Section for Database {
    const NAME: &'static str = "database";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.engine("url", &self.url, &["sqlite", "postgres", "postgresql"])?;
        validator.range("connections", self.connections, 1..=1000)
    }
}
