//! A worker as a process of its own.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jiff::SignedDuration;
use kit::Boot;
use kit::clock::SystemClock;
use kit::config::Synchronous;
use kit::lifecycle::Shutdown;
use tasks::sqlite::SqliteEngine;
use tasks::{Retention, Tasks};

use crate::Deps;
use crate::kinds::Kinds;

/// Runs one worker on what the configuration names, until it is told to stop.
pub async fn serve(boot: Boot) -> anyhow::Result<()> {
    let Boot { config, shutdown, health, .. } = boot;
    let broker = broker::open(&config.broker.url)?;
    ensure!(
        broker.is_durable(),
        "nothing reaches this worker by {}, which lives within a process: run miniapp, or set \
         MINIAPP__BROKER__URL to a broker that is shared",
        config.broker.url
    );
    let clock = Arc::new(SystemClock);
    let fsync = config.database.synchronous == Synchronous::Full;
    let engine = SqliteEngine::open(config.database.url.expose(), fsync).await;
    let engine = Arc::new(engine.with_context(|| format!("can't open {}", config.database.url))?);
    let (tasks, upkeep) = Tasks::new(engine, clock.clone());
    health.add("tasks", {
        let tasks = tasks.clone();
        move || {
            let tasks = tasks.clone();
            async move { Ok(tasks.ping().await?) }
        }
    });
    health.add("broker", {
        let broker = broker.clone();
        move || {
            let broker = broker.clone();
            async move { Ok(broker.ping().await?) }
        }
    });

    let retention = Retention {
        ended: SignedDuration::try_from(config.tasks.retention)?,
        removed: SignedDuration::try_from(config.tasks.deleted_retention)?,
    };
    let drained = Shutdown::new();
    let upkeep = tokio::spawn(upkeep.run(broker.clone(), retention, drained.clone()));
    let kinds = Arc::new(Kinds::standard(config.worker.http_allow_private));
    let seed = rand::random();
    crate::run(&config.worker, Deps { tasks, broker, clock, kinds, seed }, shutdown).await;
    // What running tasks said to the end is still told.
    drained.begin();
    Ok(upkeep.await?)
}
