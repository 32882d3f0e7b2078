//! The servers and services to measure.

use std::net::SocketAddr;

use anyhow::Context as _;
use miniapp_config::EngineUrl;
use miniapp_test_support::platform::{Program, Separate};
use miniapp_test_support::postgres::{self, Durability};
use miniapp_test_support::rabbit::{self, Options};
use miniapp_types::account::Secret;
use sqlx::PgConnection;

use crate::load::Endpoint;
use crate::processes::{Processes, Role};

/// PostgreSQL, with commits that survive a power failure, and RabbitMQ.
pub struct Servers {
    pub postgres: postgres::Server,
    pub rabbit: rabbit::Server,
}

/// How many of each service to start, and their settings.
#[derive(Clone, Debug, clap::Args)]
pub struct Replicas {
    /// Replicas of the API; the load uses one of them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    apis: u8,
    /// Workers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// A setting of the services such as `worker.concurrency=64`, or a variable of their
    /// environment such as `TOKIO_WORKER_THREADS=1`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Servers {
    pub async fn start() -> anyhow::Result<Self> {
        let (postgres, rabbit) = tokio::join!(
            // Enough for the pools of all processes and this one.
            postgres::Server::start(Durability::Power, &["max_connections=200"]),
            rabbit::Server::start(Options::default())
        );
        Ok(Self { postgres: postgres?, rabbit: rabbit? })
    }

    /// Starts the services on a new database. Their program is next to this one.
    pub async fn start_platform(&self, replicas: &Replicas) -> anyhow::Result<Platform<'_>> {
        let url = self.postgres.database().await?;
        let mut program = Program::new(std::env::current_exe()?.with_file_name("miniapp"))
            .set("database.url", url.expose())
            .set("broker.url", self.rabbit.host().await?.expose())
            // One token is used in all phases.
            .set("auth.access_ttl", "12h")
            // This process reads the logs, which would cost it processor time.
            .set("log.level", "warn");
        for (key, value) in &replicas.settings {
            program = if key.contains(|letter: char| letter.is_ascii_lowercase()) {
                program.set(key, value)
            } else {
                program.set_variable(key, value)
            };
        }
        let (apis, workers) = (replicas.apis.into(), replicas.workers.into());
        let services = Separate::start(&program, apis, workers).await;
        Ok(Platform { servers: self, services, database: name_of(&url).to_owned() })
    }
}

/// Returns the name of the database in `url`.
pub fn name_of(url: &EngineUrl) -> &str {
    url.rest().rsplit('/').next().unwrap_or_default()
}

/// The running services.
pub struct Platform<'s> {
    pub servers: &'s Servers,
    services: Separate,
    database: String,
}

impl Platform<'_> {
    /// Creates an account; its requests go to the first replica of the API.
    pub async fn sign_up(&self) -> anyhow::Result<Endpoint> {
        let user = self.services.sign_up("bench").await;
        let url = self.services.apis[0].url();
        let api = url.trim_start_matches("http://").parse::<SocketAddr>();
        Endpoint::new(api.context("the API has no address")?, Some(&Secret::new(user.access())))
    }

    /// Connects to the services' database.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.servers.postgres.connect(&self.database).await
    }

    /// Returns all processes, including the load generator.
    pub fn processes(&self) -> anyhow::Result<Processes> {
        let Separate { auth, apis, workers, .. } = &self.services;
        let mut processes = Processes::default();
        processes.watch("auth", auth.pid(), Role::Service);
        for (name, services) in [("api", apis), ("worker", workers)] {
            for (number, service) in (1..).zip(services) {
                processes.watch(&format!("{name} {number}"), service.pid(), Role::Service);
            }
        }
        processes.watch("PostgreSQL", self.servers.postgres.pid()?, Role::Server);
        processes.watch("RabbitMQ", self.servers.rabbit.pid()?, Role::Server);
        processes.watch("load generator", rustix::process::getpid(), Role::Generator);
        Ok(processes)
    }
}
