//! The worker as a program.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use miniapp_broker::BrokerConfig;
use miniapp_config::Database;
use miniapp_program::AppContext;
use miniapp_runtime::clock::SystemClock;
use miniapp_tasks::{LeaseConfig, RetentionConfig, Runtime};

use crate::config::WorkerConfig;
use crate::kinds::Kinds;
use crate::{Dependencies, Isolation};

/// Opens the configured engines and runs one worker until shutdown.
pub(crate) async fn serve(context: AppContext, kinds: Kinds) -> anyhow::Result<()> {
    let AppContext { config, shutdown, health, .. } = context;
    let worker: WorkerConfig = config.section()?;
    let database: Database = config.section()?;
    let retention: RetentionConfig = config.section()?;
    let broker_config: BrokerConfig = config.section()?;
    let broker = miniapp_broker::open(&broker_config.address())?;
    ensure!(
        broker.is_durable(),
        "{} is an in-process broker and cannot reach this worker: run miniapp, or set \
         MINIAPP__BROKER__URL to a shared broker",
        broker_config.url
    );
    let at_database = || format!("can't open {}", database.url);
    let clock = miniapp_postgres::open_clock(&database, Arc::new(SystemClock)).await;
    let clock = clock.with_context(at_database)?;
    let lease: LeaseConfig = config.section()?;
    let runtime = Runtime::open(&database, &retention, &lease, broker.clone(), clock.clone()).await;
    let runtime = runtime.with_context(at_database)?;
    let tasks = runtime.tasks().clone();
    miniapp_tasks::health::add(&health, &tasks);
    miniapp_broker::health::add(&health, broker.clone());

    health.started();
    let dependencies = Dependencies {
        tasks: tasks.clone(),
        broker,
        clock,
        kinds: Arc::new(kinds),
        isolation: Isolation::default(),
        seed: rand::random(),
    };
    let working = crate::run(&worker, dependencies, shutdown);
    runtime.run(working).await?;
    tasks.close().await.with_context(at_database)
}
