//! `miniapp backup`: copies the embedded database.

use std::path::PathBuf;

use serde_json::json;

use crate::context::Context;
use crate::database;

#[derive(Debug, clap::Args)]
#[command(long_about = "Copy the embedded database to a file, also while the platform runs.\n\n\
    The copy is a consistent snapshot of accounts and tasks, and is checked before it appears. It \
    does not contain auth.secret. `miniapp restore` restores it.")]
pub struct Args {
    /// The new file
    file: PathBuf,
}

pub async fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let database = database::existing_database(&context.config()?)?;
    let file = database::embedded_file(&database)?;
    let bytes = miniapp_sqlite::back_up(&file, &args.file, &database::schemas()).await?;
    if context.ui.json {
        return Ok(context.ui.json(&json!({ "file": args.file, "bytes": bytes }))?);
    }
    Ok(context.ui.line(format_args!("Wrote {}, {bytes} bytes.", args.file.display()))?)
}
