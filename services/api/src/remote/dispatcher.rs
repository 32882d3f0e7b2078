//! Passes the messages of the work queue to waiting claim calls.
//!
//! The queue is consumed only while calls wait, and at most as many messages are taken as they ask
//! for. A message is acknowledged once its claim has committed. A message that no call can use is
//! returned.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Consumer, Delivery, Queue};
use miniapp_runtime::retry::Retry;
use miniapp_tasks::{Claimable, Claimed, StoreError, Task};
use miniapp_types::message::TaskReady;
use miniapp_types::task::Status;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::grants::Grant;
use super::held::Held;
use super::polls::Demand;
use crate::PROGRAM;

/// The maximum number of unsettled messages.
const MAX_PREFETCH: usize = 256;
/// How long messages are kept for a worker that calls again.
const LINGER: Duration = Duration::from_millis(20);
/// How long the demand may be much smaller than the number of messages that are taken.
const MAX_SURPLUS_TIME: Duration = Duration::from_secs(1);
/// How long a message is kept that no waiting call can use. It would return at once.
const SET_ASIDE_TIME: Duration = Duration::from_secs(1);

/// A message with its task.
struct Offer {
    delivery: Delivery,
    ready: TaskReady,
    task: Task,
    span: Option<ProcessSpan>,
}

/// Why a consumer is closed.
enum Ended {
    /// No call waits, or their demand has changed.
    Demand,
    Broker,
    Store(StoreError),
}

pub(super) async fn run(shared: &Shared, broker: &dyn Broker) -> Infallible {
    let mut retry = Retry::new("offering tasks to workers over HTTP", rand::random());
    loop {
        shared.polls.any().await;
        let prefetch = shared.polls.demand().clamp(1, MAX_PREFETCH);
        let prefetch_u16 = u16::try_from(prefetch).unwrap_or(u16::MAX);
        let delay = match broker.consume(Queue::Tasks, prefetch_u16).await {
            Ok(mut consumer) => {
                let ended = serve(shared, broker, consumer.as_mut(), prefetch).await;
                consumer.stop().await;
                match ended {
                    Ended::Demand => {
                        retry.recovered();
                        continue;
                    }
                    Ended::Broker => retry.failed(&"the consumer ended"),
                    Ended::Store(error) => retry.failed(&error),
                }
            }
            Err(error) => retry.failed(&error),
        };
        sleep(delay).await;
    }
}

async fn serve(
    shared: &Shared,
    broker: &dyn Broker,
    consumer: &mut dyn Consumer,
    prefetch: usize,
) -> Ended {
    let mut surplus_since = None;
    loop {
        let changed = shared.polls.changed();
        let demand = shared.polls.demand();
        if demand == 0 {
            match timeout(LINGER, shared.polls.any()).await {
                Ok(()) => continue,
                Err(_) => return Ended::Demand,
            }
        }
        let is_surplus = demand * 4 < prefetch;
        let since = *surplus_since.get_or_insert_with(Instant::now);
        if !is_surplus {
            surplus_since = None;
        } else if since.elapsed() > MAX_SURPLUS_TIME {
            return Ended::Demand;
        }
        if demand > prefetch * 2 && prefetch < MAX_PREFETCH {
            return Ended::Demand;
        }
        let delivery = tokio::select! {
            biased;
            delivery = consumer.next() => delivery,
            () = changed => continue,
        };
        let Some(delivery) = delivery else { return Ended::Broker };
        let mut deliveries = vec![delivery];
        while deliveries.len() < demand
            && let Some(Some(next)) = consumer.next().now_or_never()
        {
            deliveries.push(next);
        }
        if let Err(error) = offer(shared, broker, deliveries).await {
            return Ended::Store(error);
        }
    }
}

/// Claims the tasks of messages for waiting calls, and settles the messages. After an error of the
/// store, the messages are dropped and thereby returned.
async fn offer(
    shared: &Shared,
    broker: &dyn Broker,
    deliveries: Vec<Delivery>,
) -> Result<(), StoreError> {
    let offers = read(shared, broker, deliveries).await?;
    let mut demands = shared.polls.demands();
    demands.retain(|(_, demand)| !shared.isolated.contains(&demand.worker, &shared.held));
    let mut assigned = Vec::with_capacity(offers.len());
    for offer in offers {
        let fits = |(_, demand): &&mut (u64, Demand)| {
            let is_known = demand.kinds.contains(&offer.task.spec.kind);
            demand.max > 0 && demand.takes_default && is_known
        };
        match demands.iter_mut().find(fits) {
            Some((poll, demand)) => {
                demand.max -= 1;
                assigned.push((*poll, demand.worker.clone(), offer));
            }
            None => set_aside(offer.delivery),
        }
    }
    let claims = assigned.iter().map(|(_, worker, offer)| claim(shared, offer, worker, false));
    let claims = join_all(claims).await;
    let mut grants: BTreeMap<u64, Vec<Claimed>> = BTreeMap::new();
    let mut suspects = Vec::new();
    let mut failure = None;
    for ((poll, worker, offer), claimed) in assigned.into_iter().zip(claims) {
        match claimed {
            Ok(Claimable::Claimed(claimed)) => {
                grants.entry(poll).or_default().push(*claimed);
                settle(offer).await;
            }
            Ok(Claimable::Stale) => settle(offer).await,
            Ok(Claimable::RunsAlone) => suspects.push((poll, worker, offer)),
            Ok(Claimable::NotRun) => set_aside(offer.delivery),
            Err(error) => failure = Some(error),
        }
    }
    for (poll, worker, offer) in suspects {
        let is_free = !grants.contains_key(&poll)
            && shared.held.count(&worker, shared.lease) == 0
            && !shared.isolated.contains(&worker, &shared.held);
        let claimed = if is_free {
            claim(shared, &offer, &worker, true).await
        } else {
            Ok(Claimable::RunsAlone)
        };
        match claimed {
            Ok(Claimable::Claimed(claimed)) => {
                shared.isolated.begin(&worker, &claimed);
                grants.entry(poll).or_default().push(*claimed);
                settle(offer).await;
            }
            Ok(Claimable::Stale) => settle(offer).await,
            Ok(Claimable::RunsAlone | Claimable::NotRun) => set_aside(offer.delivery),
            Err(error) => failure = Some(error),
        }
    }
    for (poll, claims) in grants {
        shared.polls.answer(poll, Grant::new(claims, shared.tasks.clone()));
    }
    failure.map_or(Ok(()), Err)
}

/// Reads the tasks of messages. Messages of tasks that do not wait are acknowledged.
async fn read(
    shared: &Shared,
    broker: &dyn Broker,
    deliveries: Vec<Delivery>,
) -> Result<Vec<Offer>, StoreError> {
    let mut messages = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match delivery.message.decode::<TaskReady>() {
            Ok(ready) => messages.push((delivery, ready)),
            Err(error) => {
                let id = delivery.message.id;
                tracing::warn!(message.id = %id, %error, "rejected a message that could not be decoded");
                delivery.reject().await;
            }
        }
    }
    let tasks =
        messages.iter().map(|(_, TaskReady::V1 { task_id, .. })| shared.tasks.find(*task_id));
    let tasks = join_all(tasks).await;
    let mut offers = Vec::with_capacity(messages.len());
    for ((delivery, ready), task) in messages.into_iter().zip(tasks) {
        let system = broker.system();
        match task?.filter(|task| task.state.status == Status::Awaiting && !task.state.deleted) {
            Some(task) => {
                let span = ProcessSpan::of_delivery(PROGRAM.name, system, Queue::Tasks, &delivery);
                offers.push(Offer { delivery, ready, task, span });
            }
            None => delivery.ack().await,
        }
    }
    Ok(offers)
}

async fn claim(
    shared: &Shared,
    offer: &Offer,
    worker: &Arc<str>,
    alone: bool,
) -> Result<Claimable, StoreError> {
    let since = shared.clock.now();
    let claimed = shared.tasks.claim(&offer.ready, worker, shared.lease, alone).await;
    let claimed = match claimed {
        // The call may have succeeded in the store.
        Err(_) => {
            let own = shared.tasks.recover_lost_claim(&offer.ready, worker, since).await?;
            own.map_or(Claimable::Stale, Claimable::from)
        }
        Ok(claimed) => claimed,
    };
    if let Claimable::Claimed(claimed) = &claimed {
        shared.held.insert(claimed.claim, Held::new(&claimed.task));
    }
    Ok(claimed)
}

/// Acknowledges a message and records its span.
async fn settle(offer: Offer) {
    let Offer { delivery, task, span, .. } = offer;
    delivery.ack().await;
    if let Some(span) = span {
        span.end(|span| {
            span.with_attribute("task.id", task.id.to_string())
                .with_attribute("task.kind", task.spec.kind.clone())
                .with_attribute("task.generation", i64::from(task.state.generation))
        });
    }
}

/// Returns a message later. It stays with this consumer for a moment, because the broker might
/// deliver it here again at once.
fn set_aside(delivery: Delivery) {
    tokio::spawn(async move {
        sleep(SET_ASIDE_TIME).await;
        delivery.release().await;
    });
}
