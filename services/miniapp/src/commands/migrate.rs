//! `miniapp migrate`: creates or updates the tables in the database.

use anyhow::Context as _;
use miniapp_accounts::open_store;
use miniapp_config::Database;
use miniapp_tasks::open_engine;
use serde_json::json;

use crate::context::Context;

/// Services migrate with their first connection, one at a time. This command does only
/// that, so that a migration can be checked before services are replaced.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    let database: Database = context.config()?.section()?;
    let url = &database.url;
    let cannot_migrate = || format!("cannot migrate {url}");
    let accounts = open_store(&database).await.with_context(cannot_migrate)?;
    accounts.migrate().await.with_context(cannot_migrate)?;
    accounts.close().await.with_context(cannot_migrate)?;
    let tasks = open_engine(&database).await.with_context(cannot_migrate)?;
    tasks.migrate().await.with_context(cannot_migrate)?;
    tasks.close().await.with_context(cannot_migrate)?;
    if context.ui.json {
        return Ok(context.ui.json(&json!({ "migrated": true }))?);
    }
    Ok(context.ui.line(format_args!("The tables at {url} are up to date."))?)
}
