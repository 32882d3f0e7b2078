//! Direct access to the database, for commands that need no running platform.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use miniapp_accounts::{SqliteStore, Store, open_store};
use miniapp_config::{Config, Database};
use miniapp_runtime::clock::{Clock, SystemClock};
use miniapp_sqlite::Schema;
use miniapp_tasks::sqlite::SqliteEngine;
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

/// Opens the clock of the database, which all processes follow.
pub async fn open_clock(config: &Config) -> anyhow::Result<Arc<dyn Clock>> {
    let database: Database = config.section()?;
    let clock = miniapp_postgres::open_clock(&database, Arc::new(SystemClock)).await;
    clock.with_context(|| format!("failed to read the clock of {}", database.url))
}

/// Checks that the database exists: opening an SQLite file would create it.
pub fn existing_database(config: &Config) -> anyhow::Result<Database> {
    let database: Database = config.section()?;
    if database.url.scheme() == "sqlite" {
        check_file(&miniapp_sqlite::file_of(database.url.expose())?)?;
    }
    Ok(database)
}

/// Returns the file of the database, which has to be embedded.
pub fn embedded_file(database: &Database) -> anyhow::Result<PathBuf> {
    let url = &database.url;
    if url.scheme() != "sqlite" {
        bail!(
            "{url} is no SQLite database: use pg_dump and pg_restore, then \
             `miniapp admin after-restore`"
        );
    }
    let file = miniapp_sqlite::file_of(url.expose())?;
    // A restore replaces the file that a link names, not the link.
    Ok(file.canonicalize().unwrap_or(file))
}

/// Returns the tables that a file of the platform has.
pub fn schemas() -> [Schema; 2] {
    [SqliteStore::schema(), SqliteEngine::schema()]
}

/// The driver's error for a file that cannot be opened has no reason.
fn check_file(file: &Path) -> anyhow::Result<()> {
    match File::options().read(true).write(true).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no database at {}; `miniapp` creates it", file.display())
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot open the database {}", file.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_database_is_not_reported_as_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = check_file(&directory.path().join("m.db")).expect_err("missing");
        assert!(missing.to_string().starts_with("there is no database at"), "{missing}");
        // Fails for every user, also for root.
        let refused = check_file(directory.path()).expect_err("a directory");
        assert!(refused.to_string().starts_with("cannot open the database"), "{refused}");
    }
}
