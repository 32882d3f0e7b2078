//! Starting the service, within another process or as a program.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::Router;
use miniapp_broker::{Broker, BrokerConfig, run_dead_letter_consumer};
use miniapp_config::{Config, Database};
use miniapp_http::{RouterOptions, ServerOptions};
use miniapp_program::AppContext;
use miniapp_runtime::clock::{Clock, SystemClock};
use miniapp_runtime::health::Health;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{LeaseConfig, RetentionConfig, Runtime, Tasks};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::config::{ApiConfig, AuthServerConfig, SubmitConfig};
use crate::deletions::Deletions;
use crate::state::Api;
use crate::token::TokenVerifier;
use crate::{PROGRAM, routes};

/// The dependencies of the service.
#[derive(Clone)]
pub struct Dependencies {
    pub tasks: Tasks,
    pub broker: Arc<dyn Broker>,
    pub clock: Arc<dyn Clock>,
    /// The kind of tasks that name none, unless `tasks.default_kind` is set.
    pub default_kind: Option<&'static str>,
}

/// Serves tasks on `listener` until `shutdown`. Adds checks of the store and of auth to
/// `health`; the caller adds the one of the broker.
pub async fn run(
    config: &Config,
    dependencies: Dependencies,
    listener: TcpListener,
    health: &Health,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Dependencies { tasks, broker, clock, default_kind } = dependencies;
    let submit: SubmitConfig = config.section()?;
    let default_kind = submit.default_kind.or(default_kind.map(str::to_owned));
    let auth: AuthServerConfig = config.section()?;
    let ApiConfig { accept_unverified_deletions, .. } = config.section()?;
    let options = ServerOptions::from(&config.section()?);
    let verifier = TokenVerifier::new(&auth.url, clock.clone())?;
    add_checks(health, &tasks, &verifier);
    let LeaseConfig { lease } = config.section()?;
    let lease = lease.try_into().context("can't use the duration of a lease")?;
    let streams = config.section()?;
    let api = Api::new(tasks, verifier, clock, streams, broker.is_durable(), lease, default_kind);
    let router = router(api.clone(), &RouterOptions::new(PROGRAM.name, config)?)?;
    health.started();
    // Dropped when this function returns, after the last request.
    let _gauges = miniapp_tasks::gauges::register(&api.tasks, &broker);
    let _background = spawn_background(&api, &broker, accept_unverified_deletions, &shutdown);
    miniapp_http::serve(listener, router, options, shutdown).await.context("can't serve tasks")
}

/// Opens the configured engines and runs the service until shutdown.
pub async fn serve(context: AppContext) -> anyhow::Result<()> {
    let AppContext { config, shutdown, health, .. } = context;
    let ApiConfig { listen: address, .. } = config.section()?;
    let database: Database = config.section()?;
    let retention: RetentionConfig = config.section()?;
    let broker_config: BrokerConfig = config.section()?;
    let broker = miniapp_broker::open(&broker_config.address())?;
    ensure!(
        broker.is_durable(),
        "{} is an in-process broker and reaches no worker: run miniapp, or set \
         MINIAPP__BROKER__URL to a shared broker",
        broker_config.url
    );
    let at_database = || format!("can't open {}", database.url);
    let clock = miniapp_postgres::open_clock(&database, Arc::new(SystemClock)).await;
    let clock = clock.with_context(at_database)?;
    let lease: LeaseConfig = config.section()?;
    let runtime = Runtime::open(&database, &retention, &lease, broker.clone(), clock.clone()).await;
    let runtime = runtime.with_context(at_database)?;
    miniapp_broker::health::add(&health, broker.clone());
    let listener = miniapp_program::listen(address, "api.listen").await?;
    let tasks = runtime.tasks().clone();
    let dependencies = Dependencies { tasks: tasks.clone(), broker, clock, default_kind: None };
    let serving = run(&config, dependencies, listener, &health, shutdown);
    let served = runtime.run(serving).await?;
    tasks.close().await.with_context(at_database)?;
    served
}

/// Returns the OpenAPI description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes::router().into_openapi()
}

/// Returns the router, including the API documentation.
pub(crate) fn router(api: Api, options: &RouterOptions) -> anyhow::Result<Router> {
    let (router, openapi) = routes::router().with_state(api).split_for_parts();
    let router = router.merge(miniapp_http::docs(&openapi).context("can't describe the service")?);
    Ok(miniapp_http::finish(router, options))
}

/// Spawns the tasks that receive messages. They stop when the result is dropped.
pub(crate) fn spawn_background(
    api: &Api,
    broker: &Arc<dyn Broker>,
    accepts_unverified_deletions: bool,
    shutdown: &Shutdown,
) -> JoinSet<()> {
    let mut background = JoinSet::new();
    background.spawn({
        let (api, broker) = (api.clone(), broker.clone());
        async move { match api.verifier.run(broker.as_ref()).await {} }
    });
    background.spawn({
        let (api, broker) = (api.clone(), broker.clone());
        async move { match api.live.hub.run(broker.as_ref()).await {} }
    });
    background.spawn({
        let (tasks, verifier) = (api.tasks.clone(), api.verifier.clone());
        let deletions = Deletions::new(tasks, verifier, accepts_unverified_deletions);
        let broker = broker.clone();
        async move { match deletions.run(broker.as_ref()).await {} }
    });
    background.spawn({
        let (api, broker, shutdown) = (api.clone(), broker.clone(), shutdown.clone());
        async move { api.remote.run(&broker, &shutdown).await }
    });
    background.spawn({
        let broker = broker.clone();
        async move { match run_dead_letter_consumer(broker.as_ref()).await {} }
    });
    background
}

fn add_checks(health: &Health, tasks: &Tasks, verifier: &TokenVerifier) {
    miniapp_tasks::health::add(health, tasks);
    let verifier = verifier.clone();
    health.add("auth", move || {
        let verifier = verifier.clone();
        async move { verifier.health().await }
    });
}
