//! The service, as a part of a process or as a process of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use miniapp_accounts::mail::Mailer;
use miniapp_accounts::{Accounts, Dependencies, Store, maintenance, open_mailer, open_store};
use miniapp_broker::BrokerConfig;
use miniapp_config::{Config, Database};
use miniapp_http::{IpRateLimit, RouterOptions, ServerOptions};
use miniapp_program::AppContext;
use miniapp_runtime::clock::SystemClock;
use miniapp_runtime::health::{Condition, Health};
use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::{AuthConfig, IpLimitConfig};
use crate::{PROGRAM, routes};

/// The longest body has two passwords of escaped characters, or a token.
const MAX_BODY: usize = 64 * 1024;
/// Shorter than the timeout of a health check.
const MAIL_TIMEOUT: Duration = Duration::from_millis(1500);

/// The service, opened but not serving yet. Its settings, secret and keys are valid.
pub struct Auth {
    accounts: Accounts,
    router: Router,
    options: ServerOptions,
}

impl Auth {
    /// Opens the service. Waits for its store, and adds its checks to `health`.
    pub async fn open(
        config: &Config,
        dependencies: Dependencies,
        health: &Health,
    ) -> anyhow::Result<Self> {
        add_checks(health, &dependencies);
        let mut retry = Retry::new("opening the accounts", rand::random());
        let accounts = loop {
            match Accounts::open(config, dependencies.clone()).await {
                Err(error) if error.is_transient() => sleep(retry.failed(&error)).await,
                opened => break opened?,
            }
        };
        retry.recovered();
        let router = router(&accounts, config)?;
        Ok(Self { accounts, router, options: ServerOptions::from(&config.section()?) })
    }

    /// Serves accounts on `listener` until `shutdown`.
    pub async fn run(self, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
        let drained = Shutdown::new();
        let background = spawn_background(&self.accounts, &drained);
        let _gauges = self.accounts.register_gauges();
        let served = miniapp_http::serve(listener, self.router, self.options, shutdown).await;
        // Delivers the outbox messages of the last requests.
        drained.begin();
        background.join_all().await;
        if let Err(error) = self.accounts.store().close().await {
            tracing::warn!(%error, "failed to close the store of accounts");
        }
        served.context("failed to serve accounts")
    }
}

/// Runs the service until shutdown.
pub async fn serve(context: AppContext) -> anyhow::Result<()> {
    let AppContext { config, shutdown, health, .. } = context;
    let AuthConfig { listen } = config.section()?;
    let database: Database = config.section()?;
    let broker_config: BrokerConfig = config.section()?;
    let broker = miniapp_broker::open(&broker_config.address())?;
    if !broker.is_durable() {
        tracing::warn!(
            broker = %broker_config.url,
            "other processes receive no session or account events: run miniapp, or set \
             MINIAPP__BROKER__URL to a shared broker"
        );
    }
    let store = open_store(&database).await;
    let store = store.with_context(|| format!("can't open {}", database.url))?;
    let clock = miniapp_postgres::open_clock(&database, Arc::new(SystemClock)).await;
    let clock = clock.with_context(|| format!("failed to read the clock of {}", database.url))?;
    let (watchers, _) = broadcast::channel(1);
    let mailer = open_mailer(&config.section()?, store.clone(), clock.clone(), watchers)?;
    let dependencies = Dependencies { service: PROGRAM.name, store, broker, mailer, clock };
    let opened =
        shutdown.token().run_until_cancelled_owned(Auth::open(&config, dependencies, &health));
    let Some(auth) = opened.await.transpose()? else { return Ok(()) };
    let listener = miniapp_program::listen(listen, "auth.listen").await?;
    health.started();
    auth.run(listener, shutdown).await
}

/// Returns the OpenAPI description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes::router(&IpRateLimit::new(0)).into_openapi()
}

pub(crate) fn router(accounts: &Accounts, config: &Config) -> anyhow::Result<Router> {
    let IpLimitConfig { per_ip } = config.section()?;
    let per_ip = IpRateLimit::new(per_ip);
    let mut options = RouterOptions::new(PROGRAM.name, config)?;
    options.body.size = options.body.size.min(MAX_BODY);
    let described = routes::router(&per_ip).with_state(accounts.clone());
    let (router, openapi) = described.split_for_parts();
    let router = router
        .merge(miniapp_http::docs(&openapi).context("failed to build the OpenAPI description")?);
    Ok(miniapp_http::finish(router, &options))
}

fn spawn_background(accounts: &Accounts, until: &Shutdown) -> JoinSet<()> {
    let mut background = JoinSet::new();
    background.spawn(accounts.relay().run(until.clone()));
    background.spawn(maintenance::run(accounts.clone(), until.clone()));
    background
}

fn add_checks(health: &Health, dependencies: &Dependencies) {
    let store: Arc<dyn Store> = dependencies.store.clone();
    health.add("accounts", move || {
        let store = store.clone();
        async move { Ok(store.ping().await?) }
    });
    let mailer = dependencies.mailer.clone();
    health.add("mail", move || {
        let mailer = mailer.clone();
        async move { Ok(mail_condition(&*mailer).await) }
    });
    miniapp_broker::health::add(health, dependencies.broker.clone());
}

/// Without mail the service is only degraded: users can sign in, and mails are sent later.
async fn mail_condition(mailer: &dyn Mailer) -> Condition {
    match tokio::time::timeout(MAIL_TIMEOUT, mailer.ping()).await {
        Ok(Ok(())) => Condition::Healthy,
        Ok(Err(error)) => Condition::Degraded(error.to_string()),
        Err(_) => Condition::Degraded("the mail server timed out".to_owned()),
    }
}
