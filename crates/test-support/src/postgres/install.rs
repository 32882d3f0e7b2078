//! Where PostgreSQL is installed, and the user that runs it.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The folder of all versions on Debian and Ubuntu.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Users that run the server instead of root, which PostgreSQL rejects.
const SUBSTITUTES: [&str; 2] = ["postgres", "nobody"];

/// The programs of PostgreSQL.
pub(super) struct Install {
    binaries: PathBuf,
    /// The user that runs them if the current one is root.
    substitute: Option<Ids>,
}

#[derive(Clone, Copy)]
struct Ids {
    user: u32,
    group: u32,
}

impl Install {
    /// Finds the newest installed version.
    pub fn find() -> Result<Self> {
        let binaries = in_debian().or_else(in_path).context(
            "PostgreSQL is not installed: crates/test-support/install-servers installs it on \
             Debian and Ubuntu",
        )?;
        let substitute = rustix::process::geteuid().is_root().then(substitute).transpose()?;
        Ok(Self { binaries, substitute })
    }

    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// Makes `command` run as a user that may run a server.
    pub fn demote(&self, command: &mut Command) {
        if let Some(Ids { user, group }) = self.substitute {
            command.uid(user).gid(group);
        }
    }

    /// Changes the owner of a file or directory to the user of the server.
    pub fn give(&self, path: &Path) -> Result<()> {
        match self.substitute {
            Some(Ids { user, group }) => Ok(chown(path, Some(user), Some(group))?),
            None => Ok(()),
        }
    }
}

fn in_debian() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.flatten();
    let version = |name: &str| name.parse::<u32>().unwrap_or(0);
    versions
        .filter(|entry| entry.path().join("bin/initdb").exists())
        .max_by_key(|entry| version(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path().join("bin"))
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .find(|directory| directory.join("initdb").exists() && directory.join("postgres").exists())
}

fn substitute() -> Result<Ids> {
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_user = fields.next() == Some(name);
            let user = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            is_user.then_some(Ids { user, group })
        })
    };
    SUBSTITUTES
        .iter()
        .find_map(|name| ids(name))
        .context("root can't run PostgreSQL, and there is no user postgres or nobody")
}
