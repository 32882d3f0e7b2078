//! The database itself, for what needs no platform to run.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use miniapp_accounts::{Store, open_store};
use miniapp_config::{Config, Database};
use miniapp_tasks::{Engine, open_engine};

/// Opens the accounts in the database that `config` names, which must be there.
pub async fn accounts(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let database = existing_database(config)?;
    open_store(&database).await.with_context(|| format!("can't open {}", database.url))
}

/// Opens the tasks in the database that `config` names, which must be there.
pub async fn tasks(config: &Config) -> anyhow::Result<Arc<dyn Engine>> {
    let database = existing_database(config)?;
    open_engine(&database).await.with_context(|| format!("can't open {}", database.url))
}

fn existing_database(config: &Config) -> anyhow::Result<Database> {
    let database: Database = config.section()?;
    let url = &database.url;
    let file = url.rest().split('?').next().unwrap_or_default();
    if url.scheme() == "sqlite" && !Path::new(file).exists() {
        bail!("there is no database at {file} yet; `miniapp` makes it");
    }
    Ok(database)
}
