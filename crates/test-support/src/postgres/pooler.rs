//! A connection pooler in front of a server.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use miniapp_config::EngineUrl;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::{PASSWORD, Server, USER};
use crate::{eventually, ports, scratch};

/// Debian and Ubuntu install it here, which is not in the `PATH` of all users.
const DEBIAN: &str = "/usr/sbin/pgbouncer";

/// When `PgBouncer` gives a connection of the server to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// After each transaction.
    Transaction,
}

/// `PgBouncer` with its default settings besides the mode. Dropping it stops it.
pub struct Pooler {
    port: u16,
    server_port: u16,
    directory: PathBuf,
    process: Child,
}

impl Pooler {
    /// Starts a pooler. `settings` have the form `NAME=VALUE`.
    pub async fn start(server: &Server, mode: PoolMode, settings: &[&str]) -> Result<Self> {
        let directory = scratch::directory("miniapp-pgbouncer-")?.keep();
        let port = ports::free();
        let users = directory.join("users.txt");
        let config = directory.join("pgbouncer.ini");
        let mode = format!("{mode:?}").to_lowercase();
        fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
        fs::write(
            &config,
            format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\n\
                 listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n\
                 auth_type=scram-sha-256\nauth_file={}\npool_mode={mode}\n{}\n",
                server.port,
                users.display(),
                settings.join("\n"),
            ),
        )?;
        let debian = PathBuf::from(DEBIAN);
        let mut command =
            Command::new(if debian.exists() { debian } else { PathBuf::from("pgbouncer") });
        // Like the server, it rejects root.
        server.install.demote(&mut command);
        for path in [&directory, &users, &config] {
            server.install.give(path)?;
        }
        let log = fs::File::create(directory.join("log"))?;
        command.arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().context(
            "PgBouncer is not installed: crates/test-support/install-servers installs it on \
             Debian and Ubuntu",
        )?;
        let pooler = Self { port, server_port: server.port, directory, process };
        let url = server.url(USER);
        let plain = pooler.url(&url);
        // A connection without the parameters that it rejects.
        let options: sqlx::postgres::PgConnectOptions = plain.expose().parse()?;
        let options = options.extra_float_digits(None);
        eventually("PgBouncer accepts connections", async || {
            PgConnection::connect_with(&options).await.ok()
        })
        .await;
        Ok(pooler)
    }

    /// Returns the URL through the pooler for a URL of the server.
    pub fn url(&self, url: &EngineUrl) -> EngineUrl {
        let (direct, pooled) =
            (format!("127.0.0.1:{}", self.server_port), format!("127.0.0.1:{}", self.port));
        EngineUrl::new(url.expose().replace(&direct, &pooled))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
