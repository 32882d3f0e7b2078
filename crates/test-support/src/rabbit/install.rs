//! Locates the installed RabbitMQ.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The directories of the programs. The wrappers that Debian installs in the PATH require root.
const DIRECTORIES: [&str; 2] = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"];
/// Overrides the directory, to test another version.
const OVERRIDE_VARIABLE: &str = "MINIAPP_RABBITMQ";
const SERVER: &str = "rabbitmq-server";
const CTL: &str = "rabbitmqctl";
const EPMD: &str = "epmd";

/// The programs of RabbitMQ.
pub(super) struct Install {
    programs: PathBuf,
    epmd: PathBuf,
}

impl Install {
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let chosen = std::env::var_os(OVERRIDE_VARIABLE).map(PathBuf::from);
        let known = DIRECTORIES.iter().map(PathBuf::from);
        let directories = chosen.into_iter().chain(known).chain(path.iter().cloned());
        let programs = directories
            .into_iter()
            .find(|directory| directory.join(SERVER).exists() && directory.join(CTL).exists())
            .context(
                "RabbitMQ is not installed: crates/test-support/install-servers installs it on \
                 Debian and Ubuntu",
            )?;
        let epmd =
            path.iter().map(|directory| directory.join(EPMD)).find(|program| program.exists());
        let epmd = epmd.context("Erlang's epmd is not in the PATH")?;
        Ok(Self { programs, epmd })
    }

    pub fn server(&self) -> PathBuf {
        self.programs.join(SERVER)
    }

    pub fn ctl(&self) -> PathBuf {
        self.programs.join(CTL)
    }

    /// Returns the name server of Erlang nodes.
    pub fn epmd(&self) -> &PathBuf {
        &self.epmd
    }
}
