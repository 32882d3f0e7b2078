//! `miniapp restore`: replaces the embedded database by a backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use miniapp_accounts::after_restore::deleted_accounts;
use miniapp_accounts::open_store;
use miniapp_config::{Config, Database, EngineUrl};
use miniapp_runtime::data_dir::{self, DataDir, DataDirError};
use miniapp_sqlite::{FileError, Replacement};
use miniapp_tasks::sqlite::ProcessLock;
use serde_json::json;
use uuid::Uuid;

use crate::after_restore::{Options, Restored, RestoredPlatform};
use crate::commands::interrupt::until_interrupted;
use crate::context::Context;
use crate::database;
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Replace the embedded database by a backup.\n\nStop the platform first. The \
    replaced database is kept in the same folder. All sessions end, and accounts that were deleted \
    after the backup are deleted again: the replaced database knows them. Passwords and roles are \
    those of the backup."
)]
pub struct Args {
    /// File of `miniapp backup`
    file: PathBuf,
    #[command(flatten)]
    options: Options,
}

pub async fn run(context: &Context, args: &Args) -> anyhow::Result<Outcome> {
    let ui = context.ui;
    let config = context.config()?;
    let database: Database = config.section()?;
    let file = database::embedded_file(&database)?;
    let _locks = lock(&config, &file)?;
    let prepared = until_interrupted(prepare(context, args, &config, database, &file)).await?;
    let Some(Prepared { replacement, replaces, restored }) = prepared else {
        return Ok(Outcome::Interrupted);
    };
    // Not to be interrupted.
    let aside = aside(context, &file);
    replacement.install(&aside).await?;
    let replaced = replaces.then_some(aside);
    if ui.json {
        let document = json!({ "file": file, "replaced": replaced, "restored": restored });
        ui.json(&document)?;
        return Ok(Outcome::Success);
    }
    ui.line(format_args!("Restored {} from {}.", file.display(), args.file.display()))?;
    if let Some(replaced) = replaced {
        ui.line(format_args!("The replaced database is {}.", replaced.display()))?;
    }
    restored.print(ui)?;
    Ok(Outcome::Success)
}

/// A database that is ready to be installed.
struct Prepared {
    replacement: Replacement,
    /// Whether there is a database to replace.
    replaces: bool,
    restored: Restored,
}

/// Makes a copy of the backup safe to use.
async fn prepare(
    context: &Context,
    args: &Args,
    config: &Config,
    database: Database,
    file: &Path,
) -> anyhow::Result<Prepared> {
    let ui = context.ui;
    let schemas = database::schemas();
    let replacement = Replacement::prepare(&args.file, file, &schemas).await?;
    let exists = file.try_exists().with_context(|| format!("cannot read {}", file.display()))?;
    let mut deleted = args.options.deleted()?;
    if exists {
        match read_deletions(&database, file).await {
            Ok(known) => deleted.extend(known),
            Err(error) if args.options.names_deleted() && !is_in_use(&error) => {
                ui.note(format_args!("Deletions are taken from --deleted only: {error:#}."));
            }
            Err(error) if is_in_use(&error) => return Err(error),
            Err(error) => {
                return Err(error.context(
                    "cannot read from the current database which accounts were deleted; name them \
                     in a file with --deleted, which may be empty",
                ));
            }
        }
    } else if let Some(note) = args.options.unnamed_deletions() {
        ui.note(format_args!("There is no current database. {note}"));
    }
    let copy = EngineUrl::new(miniapp_sqlite::url_of(&replacement.file()));
    let copy = Database { url: copy, ..database };
    let restored = RestoredPlatform::open(config, &copy, &copy).await?;
    let restored = restored.finish(config, &deleted, &args.options).await?;
    Ok(Prepared { replacement, replaces: exists, restored })
}

/// Excludes a running platform, whatever its directory and its database are called.
fn lock(config: &Config, file: &Path) -> anyhow::Result<(DataDir, ProcessLock)> {
    let directory = match DataDir::lock(config.data_dir()) {
        Err(DataDirError::InUse { path }) => {
            bail!("a platform uses the data directory {}; stop it first", path.display())
        }
        locked => locked?,
    };
    if let Some(folder) = file.parent() {
        data_dir::create(folder).with_context(|| format!("cannot use {}", folder.display()))?;
    }
    let lock = ProcessLock::beside(file);
    let process = format!("miniapp restore, process {}", std::process::id());
    let taken = lock.take(&process);
    match taken.with_context(|| format!("cannot lock {}", file.display()))? {
        None => Ok((directory, lock)),
        Some(other) => {
            bail!("another process uses this database: {}; stop it first", other.process)
        }
    }
}

/// Returns the accounts that the current database knows to be deleted. Afterwards it is one file
/// that nobody uses.
async fn read_deletions(database: &Database, file: &Path) -> anyhow::Result<BTreeSet<Uuid>> {
    miniapp_sqlite::close_log(file).await?;
    miniapp_sqlite::check(file, &database::schemas()).await?;
    let store = open_store(database).await?;
    let deleted = deleted_accounts(&*store).await?;
    store.close().await?;
    Ok(deleted)
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(FileError::InUse(_)))
}

/// Returns the file where the replaced database is kept.
fn aside(context: &Context, file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(context.now().strftime("-replaced-%Y%m%dT%H%M%S.%3fZ").to_string());
    name.into()
}
