//! `miniapp migrate`: makes the tables, or changes them to what this version needs.

use anyhow::Context as _;
use miniapp_accounts::open_store;
use miniapp_config::Database;
use miniapp_tasks::open_engine;

use crate::context::Context;

/// Runs the command. Services do the same with their first connection, and take turns; by
/// itself it shows what comes of a migration before any of them is replaced.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    let database: Database = context.config()?.section()?;
    let at_database = || format!("can't migrate {}", database.url);
    open_store(&database)
        .await
        .with_context(at_database)?
        .ping()
        .await
        .with_context(at_database)?;
    let engine = open_engine(&database).await.with_context(at_database)?;
    engine.ping().await.with_context(at_database)?;
    if context.ui.json {
        return Ok(context.ui.json(&serde_json::json!({ "migrated": true }))?);
    }
    Ok(context.ui.line(format_args!("The tables at {} are up to date.", database.url))?)
}
