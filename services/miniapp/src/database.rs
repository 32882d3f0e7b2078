//! Direct access to the database, for commands that need no running platform.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use miniapp_accounts::{Store, open_store};
use miniapp_config::{Config, Database};
use miniapp_tasks::{Engine, open_engine};

/// Opens the store of accounts in an existing database.
pub async fn open_accounts(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let database = existing_database(config)?;
    open_store(&database).await.with_context(|| format!("cannot open {}", database.url))
}

/// Opens the store of tasks in an existing database.
pub async fn open_tasks(config: &Config) -> anyhow::Result<Arc<dyn Engine>> {
    let database = existing_database(config)?;
    open_engine(&database).await.with_context(|| format!("cannot open {}", database.url))
}

/// Checks that the database exists: opening an SQLite file would create it.
fn existing_database(config: &Config) -> anyhow::Result<Database> {
    let database: Database = config.section()?;
    let url = &database.url;
    let file = url.rest().split('?').next().unwrap_or_default();
    if url.scheme() == "sqlite" && !Path::new(file).exists() {
        bail!("there is no database at {file}; `miniapp` creates it");
    }
    Ok(database)
}
