//! What has to happen after a database was restored from a backup.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use miniapp_accounts::after_restore::{self as accounts, AfterRestoreError, deleted_accounts};
use miniapp_accounts::keys::KeyError;
use miniapp_accounts::{SecretError, Store, open_store};
use miniapp_config::{Config, Database, EngineUrl};
use miniapp_runtime::clock::{Clock, SystemClock};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{Runtime, Tasks};
use serde::Serialize;
use tokio::time::sleep;
use uuid::Uuid;

use crate::platform::describe_process;
use crate::ui::Ui;

/// Broker of a process that publishes nothing.
const NO_BROKER: &str = "memory://";
/// How often the reports of workers are read.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// File with the ids of accounts that were deleted after the backup, one per line, as
    /// `miniapp admin deletions` prints them
    #[arg(long, value_name = "FILE")]
    deleted: Option<PathBuf>,
    /// Go on if auth.secret is not the one of the backup
    #[arg(long)]
    new_secret: bool,
    /// Delete the tasks of accounts that the restored database does not know
    #[arg(long)]
    delete_orphans: bool,
}

impl Options {
    /// Returns the accounts in the file.
    pub fn deleted(&self) -> anyhow::Result<BTreeSet<Uuid>> {
        self.deleted.as_deref().map_or(Ok(BTreeSet::new()), read_ids)
    }

    pub fn names_deleted(&self) -> bool {
        self.deleted.is_some()
    }

    /// Returns what to know about deletions that neither the file nor the database names.
    pub fn unnamed_deletions(&self) -> Option<&'static str> {
        (!self.names_deleted()).then_some(
            "Accounts that were deleted after the backup are back, unless --deleted names them.",
        )
    }
}

fn read_ids(file: &Path) -> anyhow::Result<BTreeSet<Uuid>> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let number = index + 1;
            line.trim().parse().ok().with_context(|| format!("{name}: line {number} is no id"))
        })
        .collect()
}

/// What was changed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    sessions_ended: u64,
    api_keys_revoked: u64,
    /// Accounts that were deleted again.
    deleted_accounts: Vec<Uuid>,
    /// Tasks that had not ended.
    unfinished_tasks: u64,
    /// Owners of tasks that have no account, although no deletion is known.
    orphaned_owners: Vec<Uuid>,
    orphans_deleted: bool,
}

impl Restored {
    pub fn print(&self, ui: Ui) -> anyhow::Result<()> {
        let Self { sessions_ended, api_keys_revoked, deleted_accounts, .. } = self;
        let unfinished_tasks = self.unfinished_tasks;
        ui.line(format_args!("Sessions ended: {sessions_ended}"))?;
        ui.line(format_args!("API keys revoked: {api_keys_revoked}"))?;
        ui.line(format_args!("Accounts deleted again: {}", deleted_accounts.len()))?;
        ui.line(format_args!("Unfinished tasks, which run again: {unfinished_tasks}"))?;
        if !self.orphaned_owners.is_empty() {
            let count = self.orphaned_owners.len();
            let (what, hint) = if self.orphans_deleted {
                ("were deleted", "")
            } else {
                ("are kept", "; --delete-orphans deletes them")
            };
            ui.line(format_args!("The tasks of {count} unknown accounts {what}{hint}."))?;
        }
        Ok(())
    }
}

/// Restored databases that no process uses. Those of accounts and tasks may be one or two, which
/// were restored to different moments.
pub struct RestoredPlatform {
    store: Arc<dyn Store>,
    runtime: Runtime,
    clock: Arc<dyn Clock>,
}

impl RestoredPlatform {
    pub async fn open(
        config: &Config,
        accounts: &Database,
        tasks: &Database,
    ) -> anyhow::Result<Self> {
        let store = open_store(accounts).await;
        let store = store.with_context(|| format!("cannot open {}", accounts.url))?;
        let runtime = open_tasks(config, tasks).await;
        let runtime = runtime.with_context(|| format!("cannot open {}", tasks.url))?;
        let clock = miniapp_postgres::open_clock(accounts, Arc::new(SystemClock)).await?;
        Ok(Self { store, runtime, clock })
    }

    /// Fails if a worker uses the database, or a platform that dispatches tasks by itself.
    pub async fn ensure_unused(&self) -> anyhow::Result<()> {
        // Reports of the backup may be recent, but only a live worker reports again.
        let mut earlier = Vec::new();
        loop {
            let workers = self.runtime.tasks().workers().await?;
            if workers.is_empty() {
                break;
            }
            if !earlier.is_empty() && workers.iter().any(|worker| !earlier.contains(worker)) {
                bail!("workers are running, such as {}; stop all processes first", workers[0].name);
            }
            earlier = workers;
            sleep(WATCH_INTERVAL).await;
        }
        let lease = self.runtime.take_process_lease(describe_process()).await?;
        let released = Shutdown::new();
        released.begin();
        Ok(lease.keep(&released).await?)
    }

    /// Makes sessions, keys, codes and claims from before void, and deletes the accounts in
    /// `deleted` with their tasks.
    pub async fn finish(
        self,
        config: &Config,
        deleted: &BTreeSet<Uuid>,
        options: &Options,
    ) -> anyhow::Result<Restored> {
        let Self { store, runtime, clock } = self;
        let tasks = runtime.tasks();
        let accounts =
            accounts::after_restore(config, &*store, &*clock, deleted, options.new_secret).await;
        let accounts = accounts.map_err(|error| match error {
            AfterRestoreError::Keys(KeyError::OtherSecret(_))
            | AfterRestoreError::Secret(SecretError::Missing { .. }) => {
                anyhow!("{error}; if it is lost, add --new-secret")
            }
            error => error.into(),
        })?;
        let orphaned_owners = delete_tasks(&*store, tasks, options).await?;
        let unfinished_tasks = tasks.void_claims().await?;
        store.close().await?;
        tasks.close().await?;
        Ok(Restored {
            sessions_ended: accounts.sessions_ended,
            api_keys_revoked: accounts.api_keys_revoked,
            deleted_accounts: accounts.deleted,
            unfinished_tasks,
            orphaned_owners,
            orphans_deleted: options.delete_orphans,
        })
    }
}

async fn open_tasks(config: &Config, database: &Database) -> anyhow::Result<Runtime> {
    let broker = miniapp_broker::open(&EngineUrl::new(NO_BROKER))?;
    let clock = miniapp_postgres::open_clock(database, Arc::new(SystemClock)).await?;
    let (retention, lease) = (config.section()?, config.section()?);
    Ok(Runtime::open(database, &retention, &lease, broker, clock).await?)
}

/// Deletes the tasks of deleted accounts at once: a worker may start before the event about the
/// deletion arrives. Returns the owners without an account.
async fn delete_tasks(
    store: &dyn Store,
    tasks: &Tasks,
    options: &Options,
) -> anyhow::Result<Vec<Uuid>> {
    let deleted = deleted_accounts(store).await?;
    let mut orphaned = Vec::new();
    for owner in tasks.owners().await? {
        let is_deleted = deleted.contains(&owner);
        if !is_deleted {
            if store.account(owner).await?.is_some() {
                continue;
            }
            orphaned.push(owner);
        }
        if is_deleted || options.delete_orphans {
            tasks.delete_all(owner).await?;
        }
    }
    Ok(orphaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_by_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ids");
        let [one, two] = [1, 2].map(Uuid::from_u128);
        fs::write(&file, format!("{two}\n\n {one} \n{two}\n")).expect("written");
        assert_eq!(read_ids(&file).expect("ids"), BTreeSet::from([one, two]));
        fs::write(&file, format!("{one}\nada\n")).expect("written");
        let error = read_ids(&file).expect_err("no id").to_string();
        assert!(error.ends_with("line 2 is no id"), "{error}");
    }
}
