//! Passes the messages of the work queues to waiting claim calls.
//!
//! A queue is consumed only while calls wait for its tasks, and no more messages are taken than
//! these calls have room for. A message is acknowledged once its claim has committed. A message
//! that no call can use is returned.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Consumer, Delivery};
use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{Claimable, StoreError, Task};
use miniapp_types::message::TaskReady;
use miniapp_types::task::Status;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::demand::Demand;
use super::grants::Grant;
use super::held::Held;
use super::polls::Serving;
use super::sources::{Source, Sources};
use crate::PROGRAM;

/// The maximum number of unsettled messages.
const MAX_PREFETCH: usize = 256;
/// How long messages are kept for a worker that calls again.
const LINGER: Duration = Duration::from_millis(20);
/// How often the queues and kinds of waiting calls are looked up.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long the demand may be much smaller than the number of messages that are taken.
const MAX_SURPLUS_TIME: Duration = Duration::from_secs(1);
/// How long a message is kept that no waiting call can use. It would return at once.
const SET_ASIDE_TIME: Duration = Duration::from_secs(1);

/// How long the queue has to be silent until calls that do not wait are answered without tasks.
const BRIEF_SILENCE: Duration = Duration::from_millis(50);
/// The maximum size of the `data` of a grant, except that of its first task. A response is built in
/// memory.
const MAX_GRANT_BYTES: usize = 4 << 20;

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
    Stopped,
}

/// The result of a claim.
enum Granted {
    Grant(Grant),
    RunsAlone,
    NotRun,
    Stale,
}

/// The part of a waiting call's demand that is left.
struct Seat {
    poll: u64,
    demand: Demand,
    /// The number and the size of the tasks that are assigned to it.
    tasks: usize,
    bytes: usize,
}

impl Seat {
    fn is_full(&self) -> bool {
        self.tasks >= self.demand.max || self.bytes >= MAX_GRANT_BYTES
    }
}

/// Consumes the work queues of waiting calls until the shutdown. Tasks that are being claimed then
/// are granted first.
pub(super) async fn run(shared: &Arc<Shared>, broker: &Arc<dyn Broker>, shutdown: &Shutdown) {
    let stop = shutdown.token();
    let mut retry = Retry::new("looking for queues of workers over HTTP", rand::random());
    let mut sources = Sources::default();
    let mut consumed: BTreeMap<Source, CancellationToken> = BTreeMap::new();
    let mut consuming = JoinSet::new();
    while stop.run_until_cancelled(shared.polls.any(|_| true)).await.is_some() {
        let demands: Vec<Demand> =
            shared.polls.demands().into_iter().map(|(_, demand)| demand).collect();
        let delay = match sources.refresh(&demands, &shared.tasks).await {
            Ok(()) => {
                retry.recovered();
                REFRESH_INTERVAL
            }
            Err(error) => retry.failed(&error),
        };
        shared.polls.set_sources(sources.iter());
        consumed.retain(|source, stop| {
            let is_kept = sources.iter().any(|kept| kept == source);
            if !is_kept {
                stop.cancel();
            }
            is_kept
        });
        for source in sources.iter() {
            if !consumed.contains_key(source) {
                let (source, stop) = (source.clone(), stop.child_token());
                consumed.insert(source.clone(), stop.clone());
                let (shared, broker) = (shared.clone(), broker.clone());
                consuming.spawn(async move { consume(&shared, &*broker, &source, &stop).await });
            }
        }
        while let Some(ended) = consuming.try_join_next() {
            if let Err(panicked) = ended {
                resume_unwind(panicked.into_panic());
            }
        }
        stop.run_until_cancelled(sleep(delay)).await;
    }
    while consuming.join_next().await.is_some() {}
}

/// Consumes a source while calls wait for its tasks.
async fn consume(
    shared: &Arc<Shared>,
    broker: &dyn Broker,
    source: &Source,
    stop: &CancellationToken,
) {
    let mut retry = Retry::new("offering tasks to workers over HTTP", rand::random());
    let is_served = |demand: &Demand| source.serves(demand);
    while stop.run_until_cancelled(shared.polls.any(is_served)).await.is_some() {
        let prefetch = shared.polls.demand(source).clamp(1, MAX_PREFETCH);
        let prefetch_u16 = u16::try_from(prefetch).unwrap_or(u16::MAX);
        let consumer = broker.consume(source.queue(), prefetch_u16);
        let delay = match stop.run_until_cancelled(consumer).await {
            Some(Ok(mut consumer)) => {
                let ended = serve(shared, broker, source, consumer.as_mut(), prefetch, stop).await;
                consumer.stop().await;
                match ended {
                    Ended::Demand => {
                        retry.recovered();
                        continue;
                    }
                    Ended::Broker => retry.failed(&"the consumer ended"),
                    Ended::Store(error) => retry.failed(&error),
                    Ended::Stopped => return,
                }
            }
            Some(Err(error)) => retry.failed(&error),
            None => return,
        };
        stop.run_until_cancelled(sleep(delay)).await;
    }
}

async fn serve(
    shared: &Arc<Shared>,
    broker: &dyn Broker,
    source: &Source,
    consumer: &mut dyn Consumer,
    prefetch: usize,
    stop: &CancellationToken,
) -> Ended {
    let mut surplus_since = None;
    loop {
        let changed = shared.polls.changed();
        let demand = shared.polls.demand(source);
        if demand == 0 {
            match timeout(LINGER, shared.polls.any(|demand| source.serves(demand))).await {
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
            () = stop.cancelled() => return Ended::Stopped,
            delivery = consumer.next() => delivery,
            () = changed => continue,
            () = sleep(BRIEF_SILENCE), if shared.polls.has_brief(source) => {
                shared.polls.end_brief(source);
                continue;
            }
        };
        let Some(delivery) = delivery else { return Ended::Broker };
        let mut deliveries = vec![delivery];
        while deliveries.len() < demand
            && let Some(Some(next)) = consumer.next().now_or_never()
        {
            deliveries.push(next);
        }
        if let Err(error) = offer(shared, broker, source, deliveries).await {
            return Ended::Store(error);
        }
    }
}

/// Claims the tasks of messages for waiting calls, and settles the messages. After an error of the
/// store, the messages are dropped and thereby returned.
async fn offer(
    shared: &Arc<Shared>,
    broker: &dyn Broker,
    source: &Source,
    deliveries: Vec<Delivery>,
) -> Result<(), StoreError> {
    let offers = read(shared, broker, source, deliveries).await?;
    let (assigned, serving) = assign(shared, offers);
    let claims = assigned.iter().map(|(_, worker, offer)| claim(shared, offer, worker));
    let claims = join_all(claims).await;
    let mut grants: BTreeMap<u64, Grant> = BTreeMap::new();
    let mut settled = Vec::with_capacity(assigned.len());
    let mut failure = None;
    for ((poll, _, offer), granted) in assigned.into_iter().zip(claims) {
        match granted {
            Ok(Granted::Grant(grant)) => {
                match grants.entry(poll) {
                    Entry::Vacant(entry) => _ = entry.insert(grant),
                    Entry::Occupied(mut entry) => entry.get_mut().add(grant),
                }
                settled.push(offer);
            }
            Ok(Granted::Stale) => settled.push(offer),
            Ok(Granted::RunsAlone | Granted::NotRun) => set_aside(offer.delivery, SET_ASIDE_TIME),
            Err(error) => failure = Some(error),
        }
    }
    for (poll, grant) in grants {
        shared.polls.answer(poll, grant);
    }
    drop(serving);
    join_all(settled.into_iter().map(settle)).await;
    failure.map_or(Ok(()), Err)
}

/// Assigns offers to waiting calls, which are marked until the end of [`Serving`], and returns those
/// that no call can use. A suspect goes to a worker that runs nothing; if there is none, one is
/// reserved for it.
fn assign(shared: &Shared, offers: Vec<Offer>) -> (Vec<(u64, Arc<str>, Offer)>, Serving<'_>) {
    // The sources are served concurrently, and each call by one of them.
    let _assigning = shared.assigning.lock();
    let demands = shared.polls.demands().into_iter();
    let mut seats: Vec<Seat> =
        demands.map(|(poll, demand)| Seat { poll, demand, tasks: 0, bytes: 0 }).collect();
    let mut assigned = Vec::with_capacity(offers.len());
    for offer in offers {
        let Task { id, spec, state, .. } = &offer.task;
        let is_suspect = state.isolation().is_some();
        let runs =
            |seat: &Seat| seat.demand.takes(&spec.queue) && seat.demand.kinds.contains(&spec.kind);
        let fits = |seat: &Seat| {
            let worker = &seat.demand.worker;
            runs(seat) && !seat.is_full() && shared.isolated.admits(worker, *id, &shared.held)
        };
        let is_free = |seat: &Seat| {
            seat.tasks == 0 && shared.held.count(&seat.demand.worker, shared.lease) == 0
        };
        // The call that needed it was answered with other tasks, and its worker calls again.
        let is_early = !is_suspect && (seats.is_empty() || seats.iter().any(runs));
        let mut fitting = seats.iter_mut().filter(|seat| fits(seat)).peekable();
        let first = fitting.peek().map(|seat| seat.demand.worker.clone());
        if let Some(seat) = fitting.find(|seat| !is_suspect || is_free(seat)) {
            seat.tasks += if is_suspect { seat.demand.max } else { 1 };
            seat.bytes += spec.data.get().len();
            assigned.push((seat.poll, seat.demand.worker.clone(), offer));
        } else {
            if let Some(worker) = first.filter(|_| is_suspect) {
                shared.isolated.reserve(&worker, *id);
            }
            set_aside(offer.delivery, if is_early { LINGER } else { SET_ASIDE_TIME });
        }
    }
    let serving = shared.polls.serve(assigned.iter().map(|(poll, ..)| *poll));
    (assigned, serving)
}

/// Reads the tasks of messages. Messages of tasks that do not wait are acknowledged.
async fn read(
    shared: &Shared,
    broker: &dyn Broker,
    source: &Source,
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
                let span =
                    ProcessSpan::of_delivery(PROGRAM.name, system, source.queue(), &delivery);
                offers.push(Offer { delivery, ready, task, span });
            }
            None => delivery.ack().await,
        }
    }
    Ok(offers)
}

async fn claim(
    shared: &Arc<Shared>,
    offer: &Offer,
    worker: &Arc<str>,
) -> Result<Granted, StoreError> {
    let since = shared.clock.now();
    let is_suspect = offer.task.state.isolation().is_some();
    let claimed = match shared.tasks.claim(&offer.ready, worker, shared.lease, is_suspect).await {
        Ok(Claimable::Claimed(claimed)) => *claimed,
        Ok(Claimable::RunsAlone) => return Ok(Granted::RunsAlone),
        Ok(Claimable::NotRun) => return Ok(Granted::NotRun),
        Ok(Claimable::Stale) => return Ok(Granted::Stale),
        // The call may have succeeded in the store.
        Err(error) => {
            shared.tasks.recover_lost_claim(&offer.ready, worker, since).await?.ok_or(error)?
        }
    };
    if !shared.held.insert(claimed.claim, Held::new(&claimed.task)) {
        // A copy of the message has recovered the same claim.
        return Ok(Granted::Stale);
    }
    if is_suspect {
        shared.isolated.begin(worker, &claimed);
    }
    Ok(Granted::Grant(Grant::new(claimed, shared.clone())))
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
fn set_aside(delivery: Delivery, time: Duration) {
    tokio::spawn(async move {
        sleep(time).await;
        delivery.release().await;
    });
}
