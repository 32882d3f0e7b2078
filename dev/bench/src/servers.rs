//! The servers and services that are measured.

use std::net::SocketAddr;

use anyhow::Context as _;
use miniapp::bench::Subject;
use miniapp_config::EngineUrl;
use miniapp_test_support::platform::{Program, Separate};
use miniapp_test_support::postgres::{self, Durability};
use miniapp_test_support::rabbit::{self, Options};
use miniapp_types::account::Secret;
use sqlx::PgConnection;

use crate::processes::{Part, Processes};

/// PostgreSQL, whose commits survive a loss of power, and RabbitMQ.
pub struct Servers {
    /// The database server.
    pub postgres: postgres::Server,
    /// The broker.
    pub rabbit: rabbit::Server,
}

/// How many of each service run, and how they are set.
#[derive(Clone, Debug, clap::Args)]
pub struct Replicas {
    /// Replicas of the API; the load goes to one of them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    apis: u8,
    /// Workers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// A setting of the services, or a variable of their environment, such as
    /// `worker.concurrency=64` or `TOKIO_WORKER_THREADS=1`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Servers {
    /// Starts both.
    pub async fn start() -> anyhow::Result<Self> {
        let (postgres, rabbit) = tokio::join!(
            // Room for what each process may hold, and for this one.
            postgres::Server::start(Durability::Power, &["max_connections=200"]),
            rabbit::Server::start(Options::default())
        );
        Ok(Self { postgres: postgres?, rabbit: rabbit? })
    }

    /// Starts the services, which lie beside this program, on a new database.
    pub async fn platform(&self, replicas: &Replicas) -> anyhow::Result<Platform<'_>> {
        let url = self.postgres.database().await?;
        let mut program = Program::new(std::env::current_exe()?.with_file_name("miniapp"))
            .set("database.url", url.expose())
            .set("broker.url", self.rabbit.host().await?.expose())
            // One token for all phases.
            .set("auth.access_ttl", "12h")
            // A line for each request would have to be read here.
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

/// The name of the database that `url` leads to.
pub fn name_of(url: &EngineUrl) -> &str {
    url.rest().rsplit('/').next().unwrap_or_default()
}

/// The services, and what they run on.
pub struct Platform<'s> {
    /// What they run on.
    pub servers: &'s Servers,
    services: Separate,
    database: String,
}

impl Platform<'_> {
    /// Makes an account.
    pub async fn sign_up(&self) -> anyhow::Result<Subject> {
        let user = self.services.sign_up("bench").await;
        let url = self.services.apis[0].url();
        let api = url.trim_start_matches("http://").parse::<SocketAddr>();
        Ok(Subject { api: api.context("an address")?, token: Secret::new(user.access) })
    }

    /// A connection to their database.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.servers.postgres.connect(&self.database).await
    }

    /// Everything that runs, the load generator included.
    pub fn processes(&self) -> anyhow::Result<Processes> {
        let Separate { auth, apis, workers, .. } = &self.services;
        let mut processes = Processes::default();
        processes.watch("auth", auth.pid(), Part::Service);
        for (name, services) in [("api", apis), ("worker", workers)] {
            for (number, service) in (1..).zip(services) {
                processes.watch(&format!("{name} {number}"), service.pid(), Part::Service);
            }
        }
        processes.watch("PostgreSQL", self.servers.postgres.pid()?, Part::Server);
        processes.watch("RabbitMQ", self.servers.rabbit.pid()?, Part::Server);
        processes.watch("load generator", rustix::process::getpid(), Part::Generator);
        Ok(processes)
    }
}
