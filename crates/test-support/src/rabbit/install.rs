//! Where RabbitMQ is installed.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where the real programs are; what Debian has in the path only wants to be run by root,
/// for the system's own server.
const PLACES: [&str; 2] = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"];
/// Where to look before that, for another version than the system's.
const CHOICE: &str = "MINIAPP_RABBITMQ";
const SERVER: &str = "rabbitmq-server";
const CTL: &str = "rabbitmqctl";
const NAMES: &str = "epmd";

/// The programs of RabbitMQ.
pub(super) struct Install {
    programs: PathBuf,
    names: PathBuf,
}

impl Install {
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let chosen = std::env::var_os(CHOICE).map(PathBuf::from);
        let known = PLACES.iter().map(PathBuf::from);
        let places = chosen.into_iter().chain(known).chain(path.iter().cloned());
        let programs = places
            .into_iter()
            .find(|place| place.join(SERVER).exists() && place.join(CTL).exists())
            .context(
                "RabbitMQ is not installed: crates/test-support/install-servers installs it on \
                 Debian and Ubuntu",
            )?;
        let names = path.iter().map(|place| place.join(NAMES)).find(|program| program.exists());
        let names = names.context("Erlang's epmd is not in the PATH")?;
        Ok(Self { programs, names })
    }

    /// The server itself.
    pub fn server(&self) -> PathBuf {
        self.programs.join(SERVER)
    }

    /// What operators tell it things with.
    pub fn ctl(&self) -> PathBuf {
        self.programs.join(CTL)
    }

    /// By which Erlang's nodes find each other.
    pub fn names(&self) -> &PathBuf {
        &self.names
    }
}
