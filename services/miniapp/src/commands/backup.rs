//! `miniapp backup`: copies the embedded database.

use std::path::PathBuf;

use serde_json::json;

use crate::commands::interrupt::until_interrupted;
use crate::context::Context;
use crate::database;
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(long_about = "Copy the embedded database to a file, also while the platform runs.\n\n\
    The copy is a consistent snapshot of accounts and tasks, and is checked before it appears. It \
    does not contain auth.secret. `miniapp restore` restores it.")]
pub struct Args {
    /// The new file
    file: PathBuf,
}

pub async fn run(context: &Context, args: &Args) -> anyhow::Result<Outcome> {
    let database = database::existing_database(&context.config()?)?;
    let file = database::embedded_file(&database)?;
    let schemas = database::schemas();
    let copying = async { Ok(miniapp_sqlite::back_up(&file, &args.file, &schemas).await?) };
    let Some(bytes) = until_interrupted(copying).await? else { return Ok(Outcome::Interrupted) };
    if context.ui.json {
        context.ui.json(&json!({ "file": args.file, "bytes": bytes }))?;
    } else {
        context.ui.line(format_args!("Wrote {}, {bytes} bytes.", args.file.display()))?;
    }
    Ok(Outcome::Success)
}
