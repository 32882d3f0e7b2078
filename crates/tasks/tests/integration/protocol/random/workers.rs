//! Workers that run tasks; some vanish and return too late.

use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, BrokerError, Consumer, Delivery, Queue};
use miniapp_tasks::{Claim, Error, StoreError, Task, Tasks};
use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::Stage;
use crate::protocol::support::{LEASE, error, raw};

pub async fn run(stage: Arc<Stage>, number: usize, mut rng: SmallRng) {
    let mut consumer = consume(&stage).await;
    let mut vanished: Vec<Claim> = Vec::new();
    loop {
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery.expect("a consumer"),
            () = stage.end.begun() => return,
        };
        let tasks = &stage.processes[rng.random_range(0..2)];
        let Ok(claimed) = claim(&stage, tasks, &delivery, number).await else {
            // The task may be unclaimed, so the message has to be delivered again.
            delivery.release().await;
            continue;
        };
        if let Some((claim, task)) = claimed {
            if rng.random_bool(0.1) && !stage.calm.has_begun() {
                vanished.push(claim);
            } else {
                attempt(&stage, tasks, claim, &task, &mut rng).await;
            }
        }
        if rng.random_bool(0.1) && !vanished.is_empty() {
            let claim = vanished.swap_remove(rng.random_range(0..vanished.len()));
            end(&stage, tasks, claim, &mut rng).await;
        }
        match rng.random_range(0..20) {
            0 => delivery.release().await,
            1 => drop(delivery),
            _ => delivery.ack().await,
        }
    }
}

/// Returns a consumer as soon as the broker is available.
async fn consume(stage: &Stage) -> Box<dyn Consumer> {
    loop {
        match stage.world.broker.consume(Queue::Tasks, 4).await {
            Ok(consumer) => return consumer,
            Err(BrokerError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn claim(
    stage: &Stage,
    tasks: &Tasks,
    delivery: &Delivery,
    number: usize,
) -> Result<Option<(Claim, Task)>, StoreError> {
    let message = delivery.message.decode().expect("a message about a task");
    let claimed = tasks.claim(&message, &format!("worker {number}").into(), LEASE, true).await?;
    let claimed = claimed.claimed().map(|claimed| (claimed.claim, claimed.task));
    if let Some((claim, _)) = &claimed {
        assert!(stage.notes.claims.lock().insert(*claim), "{claim:?} was given twice");
    }
    Ok(claimed)
}

async fn attempt(stage: &Stage, tasks: &Tasks, claim: Claim, task: &Task, rng: &mut SmallRng) {
    assert!(task.state.attempt <= task.spec.max_attempts + task.state.lost_leases);
    for _ in 0..rng.random_range(0..3) {
        if rng.random_bool(0.5) {
            // The result shows in the timeline.
            let _ = tasks.progress(claim, rng.random(), None).await;
        } else if let Ok(renewed) = tasks.renew(&[claim], LEASE).await {
            let mut renewals = stage.notes.renewals.lock();
            *renewals.entry(claim.task_id).or_default() += renewed.len() as u64;
        }
    }
    end(stage, tasks, claim, rng).await;
}

/// Ends the attempt and retries while the store fails.
async fn end(stage: &Stage, tasks: &Tasks, claim: Claim, rng: &mut SmallRng) {
    let way = if stage.calm.has_begun() { 0 } else { rng.random_range(0..10) };
    loop {
        let ended = match way {
            0..6 => tasks.finish(claim, raw("1")).await,
            6 => tasks.fail(claim, error()).await,
            7 => {
                tasks
                    .retry(claim, error(), Duration::from_millis(rng.random_range(500..1000)))
                    .await
            }
            8 => tasks.exceed_ttl(claim).await,
            _ => tasks.release(claim).await,
        };
        match ended {
            Ok(_) => {
                let is_first = stage.notes.outcomes.lock().insert(claim);
                assert!(is_first, "{claim:?} had two outcomes");
                return;
            }
            Err(Error::Store(_)) => {}
            Err(Error::Refused(_) | Error::NotFound) => return,
            Err(Error::KeyReused | Error::VersionConflict) => panic!("there is no key"),
        }
    }
}
