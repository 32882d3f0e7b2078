//! The whole platform in this process: all services with one database, one broker and one
//! clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use miniapp_accounts::MailConfig;
use miniapp_accounts::mail::InboxMail;
use miniapp_api::ApiConfig;
use miniapp_auth::{Auth, AuthConfig};
use miniapp_broker::{Broker, BrokerConfig};
use miniapp_config::{Config, Database};
use miniapp_program::AppContext;
use miniapp_runtime::clock::{Clock, SystemClock};
use miniapp_runtime::data_dir::DataDir;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{ProcessLease, Runtime, Tasks};
use miniapp_worker::kinds::Kinds;
use miniapp_worker::{Isolation, WorkerConfig};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::program::PROGRAM;

/// Mails that a slow subscriber can fall behind before it misses some.
const MAIL_CHANNEL_CAPACITY: usize = 64;

/// The kind of tasks that name none.
const DEFAULT_KIND: &str = "simulate";

/// The running platform.
pub struct Platform {
    pub addresses: Addresses,
    pub broker: Arc<dyn Broker>,
    pub tasks: Tasks,
    /// Mail for the embedded inbox.
    pub mails: broadcast::Sender<InboxMail>,
    clock: Arc<dyn Clock>,
    directory: DataDir,
}

/// The running services of the platform.
pub struct Running {
    shutdown: Shutdown,
    tasks: Tasks,
    services: JoinSet<anyhow::Result<()>>,
    /// Of the database, if the broker reaches no other process.
    process_lease: Option<ProcessLease>,
}

/// Where the platform listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub api: SocketAddr,
    pub auth: SocketAddr,
    pub admin: SocketAddr,
}

impl Platform {
    /// Starts all services with their files in `directory`. Returns once they listen.
    pub(crate) async fn start(
        context: AppContext,
        directory: DataDir,
        kinds: Kinds,
    ) -> anyhow::Result<(Self, Running)> {
        let AppContext { config, shutdown, health, admin, .. } = context;
        let auth_config: AuthConfig = config.section()?;
        let api_config: ApiConfig = config.section()?;
        let auth_listener = miniapp_program::listen(auth_config.listen, "auth.listen").await?;
        let api_listener = miniapp_program::listen(api_config.listen, "api.listen").await?;
        let addresses =
            Addresses { api: api_listener.local_addr()?, auth: auth_listener.local_addr()?, admin };
        // The ports may have been chosen by the system.
        let config = Config::clone(&config).with("auth.url", &addresses.auth_url());
        let database: Database = config.section()?;
        let broker_config: BrokerConfig = config.section()?;
        let worker: WorkerConfig = config.section()?;

        let clock = miniapp_postgres::open_clock(&database, Arc::new(SystemClock)).await;
        let clock = clock.with_context(|| format!("cannot open {}", database.url))?;
        let broker = miniapp_broker::open(&broker_config.address())?;
        let (mails, _) = broadcast::channel(MAIL_CHANNEL_CAPACITY);
        let accounts = open_accounts(&config, &clock, &broker, &mails).await?;
        let auth = Auth::open(&config, accounts, &health).await?;
        let (retention, lease) = (config.section()?, config.section()?);
        let runtime =
            Runtime::open(&database, &retention, &lease, broker.clone(), clock.clone()).await;
        let runtime = runtime.with_context(|| format!("cannot open {}", database.url))?;
        let tasks = runtime.tasks().clone();
        let mut process_lease = None;
        if !broker.is_durable() {
            let taken = runtime.take_process_lease(describe_process()).await;
            process_lease = Some(taken.with_context(|| format!("cannot use {}", database.url))?);
        }

        let config = Arc::new(config);
        let mut services = JoinSet::new();
        services.spawn(auth.run(auth_listener, shutdown.clone()));
        services.spawn({
            let deps = miniapp_api::Dependencies {
                tasks: tasks.clone(),
                broker: broker.clone(),
                clock: clock.clone(),
                default_kind: Some(DEFAULT_KIND),
            };
            let (config, shutdown) = (config.clone(), shutdown.clone());
            async move { miniapp_api::run(&config, deps, api_listener, &health, shutdown).await }
        });
        let deps = miniapp_worker::Dependencies {
            tasks: tasks.clone(),
            broker: broker.clone(),
            clock: clock.clone(),
            kinds: Arc::new(kinds),
            isolation: Isolation::default(),
            seed: rand::random(),
        };
        services.spawn(run_workers(worker, deps, runtime, shutdown.clone()));

        let running = Running { shutdown, tasks: tasks.clone(), services, process_lease };
        Ok((Self { addresses, broker, tasks, mails, clock, directory }, running))
    }

    /// Returns the directory of its files.
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Running {
    /// Waits until all services have stopped. If one stops by itself, or another process takes
    /// the database over, stops the others.
    pub async fn wait(self) -> anyhow::Result<()> {
        let Self { shutdown, tasks, mut services, process_lease } = self;
        let stopped = Shutdown::new();
        // Until the end: another process would run the remaining tasks again.
        let keeping = async {
            let Some(lease) = process_lease else { return Ok(()) };
            let kept = lease.keep(&stopped).await.context("this process has to stop");
            if kept.is_err() {
                shutdown.begin();
            }
            kept
        };
        let serving = async {
            let mut result = Ok(());
            while let Some(service) = services.join_next().await {
                let service = service.context("a service panicked").flatten();
                if !shutdown.has_begun() {
                    shutdown.begin();
                }
                result = result.and(service);
            }
            // After the last use. The accounts are closed.
            let closed = tasks.close().await.context("failed to close the store of tasks");
            stopped.begin();
            result.and(closed)
        };
        let (kept, served) = tokio::join!(keeping, serving);
        kept.and(served)
    }
}

async fn open_accounts(
    config: &Config,
    clock: &Arc<dyn Clock>,
    broker: &Arc<dyn Broker>,
    mails: &broadcast::Sender<InboxMail>,
) -> anyhow::Result<miniapp_accounts::Dependencies> {
    let database: Database = config.section()?;
    let store = miniapp_accounts::open_store(&database).await;
    let store = store.with_context(|| format!("cannot open {}", database.url))?;
    let (broker, clock) = (broker.clone(), clock.clone());
    let mail: MailConfig = config.section()?;
    let mailer = miniapp_accounts::open_mailer(&mail, store.clone(), clock.clone(), mails.clone())?;
    Ok(miniapp_accounts::Dependencies {
        service: miniapp_auth::PROGRAM.name,
        store,
        broker,
        mailer,
        clock,
    })
}

/// Names this process for the people who see it from another one.
pub fn describe_process() -> String {
    let system = rustix::system::uname();
    let (host, id) = (system.nodename().to_string_lossy(), std::process::id());
    format!("{} on {host}, process {id}", PROGRAM.name)
}

/// Runs the workers, then drains the task runtime: their last events are still published.
async fn run_workers(
    config: WorkerConfig,
    deps: miniapp_worker::Dependencies,
    runtime: Runtime,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let workers = (0..config.replicas).map(|_| {
        let deps = miniapp_worker::Dependencies { seed: rand::random(), ..deps.clone() };
        miniapp_worker::run(&config, deps, shutdown.clone())
    });
    let working = async {
        join_all(workers).await;
        if config.replicas == 0 {
            // Workers run in other processes; the task runtime runs here.
            shutdown.begun().await;
        }
    };
    Ok(runtime.run(working).await?)
}

impl Addresses {
    /// Returns the URL of the API, without a trailing slash.
    pub fn api_url(&self) -> String {
        format!("http://{}", reachable(self.api))
    }

    /// Returns the URL of auth, without a trailing slash.
    pub fn auth_url(&self) -> String {
        format!("http://{}", reachable(self.auth))
    }
}

/// Returns the address to connect to for a listener at `address`.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
