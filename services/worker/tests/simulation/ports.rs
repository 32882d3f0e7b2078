//! The store and the broker as a process reaches them: with delays, and not always.

use std::sync::Arc;

use async_trait::async_trait;
use broker::{
    Broker, BrokerError, Consumer, Delivery, Message, Queue, Received, Settle, Subscription, Topic,
};
use contracts::task::{Event, Kind, Stats, Worker};
use jiff::Timestamp;
use tasks::engine::{Change, Checked, Due, Insert, TakeDue, Written};
use tasks::{Claim, Engine, Filter, Renewed, StoreError, Task};
use testkit::Row;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::process::Life;
use crate::rules::check_write;
use crate::world::World;

/// A process's way to the store.
pub struct StorePort(pub Arc<Life>);

impl StorePort {
    /// Asks the store; before and after that anything may happen.
    async fn ask<T>(
        &self,
        ask: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let world = &self.0.world;
        world.step();
        self.0.passes().await;
        if world.strikes(10) || *world.store_away_until.lock() > Instant::now() {
            return Err(away());
        }
        let answer = ask.await;
        self.0.passes().await;
        if world.strikes(10) { Err(away()) } else { answer }
    }

    /// Asks for changes of these tasks, and looks at what they made of the rules.
    async fn change<T>(
        &self,
        ids: Vec<Uuid>,
        change: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let world = &self.0.world;
        self.ask(async {
            let before: Vec<_> = ids.iter().map(|id| world.store.row(*id)).collect();
            let answer = change.await;
            for (id, before) in ids.iter().zip(before) {
                let Some(after) = world.store.row(*id) else { continue };
                let old = before.as_ref().map(|row| row.task.state.version);
                if old == Some(after.task.state.version) {
                    continue;
                }
                world.note(|| told(world, &self.0.name, &after));
                if let Some(event) = after.events.last().filter(|_| is_new(before.as_ref(), &after))
                {
                    world.happened(event.kind);
                }
                if let Err(broken) = check_write(before.as_ref(), &after) {
                    world.breaks(broken);
                }
            }
            answer
        })
        .await
    }
}

fn is_new(before: Option<&Row>, after: &Row) -> bool {
    before.is_none_or(|before| before.events.len() < after.events.len())
}

fn told(world: &World, who: &str, row: &Row) -> String {
    let state = &row.task.state;
    let event = row.events.last().map_or("nothing", |event| event.kind.into());
    let name = world.name(row.task.id);
    let (version, claim) = (state.version, state.claim);
    format!("{who}: {name} v{version} claim {claim} {:?} after {event}", state.status)
}

fn away() -> StoreError {
    StoreError::Unavailable("no answer".into())
}

#[async_trait]
impl Engine for StorePort {
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
        self.ask(self.0.world.store.load(ids)).await
    }

    async fn write(&self, inserts: &[Insert], changes: &[Change]) -> Result<Written, StoreError> {
        let inserted = inserts.iter().map(|insert| insert.task.id);
        let ids = inserted.chain(changes.iter().map(|change| change.task.id)).collect();
        self.change(ids, self.0.world.store.write(inserts, changes)).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        self.ask(self.0.world.store.list(filter)).await
    }

    async fn timeline(&self, id: Uuid) -> Result<Option<Vec<Event>>, StoreError> {
        self.ask(self.0.world.store.timeline(id)).await
    }

    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.ask(self.0.world.store.events_after(owner, after, limit)).await
    }

    async fn renew(&self, claims: &[Claim], until: Timestamp) -> Result<Vec<Renewed>, StoreError> {
        let ids = claims.iter().map(|claim| claim.task_id).collect();
        self.change(ids, self.0.world.store.renew(claims, until)).await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.ask(self.0.world.store.expired(now, limit)).await
    }

    async fn take_due(&self, take: &TakeDue) -> Result<Vec<Due>, StoreError> {
        self.ask(self.0.world.store.take_due(take)).await
    }

    async fn dispatched(&self, tasks: &[(Uuid, u64)], now: Timestamp) -> Result<(), StoreError> {
        self.ask(self.0.world.store.dispatched(tasks, now)).await
    }

    async fn dispatch_again(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.ask(self.0.world.store.dispatch_again(before, now)).await
    }

    async fn owned(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.ask(self.0.world.store.owned(owner, limit)).await
    }

    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.ask(self.0.world.store.purge(ended, removed, limit)).await
    }

    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError> {
        self.ask(self.0.world.store.stats(owner, now)).await
    }

    async fn report_worker(&self, worker: &Worker) -> Result<(), StoreError> {
        self.ask(self.0.world.store.report_worker(worker)).await
    }

    async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        self.ask(self.0.world.store.forget_worker(name)).await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<Worker>, StoreError> {
        self.ask(self.0.world.store.workers(since)).await
    }

    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        self.ask(self.0.world.store.announce_kinds(kinds)).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.ask(self.0.world.store.kinds()).await
    }

    async fn check(&self, now: Timestamp) -> Result<Vec<Checked>, StoreError> {
        self.ask(self.0.world.store.check(now)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.ask(self.0.world.store.ping()).await
    }
}

/// A process's way to the broker.
pub struct Link(pub Arc<Life>);

impl Link {
    /// Asks the broker; before and after that anything may happen.
    async fn ask<T>(
        &self,
        ask: impl Future<Output = Result<T, BrokerError>> + Send,
    ) -> Result<T, BrokerError> {
        let world = &self.0.world;
        world.step();
        self.0.passes().await;
        if world.strikes(10) {
            return Err(silent());
        }
        let answer = ask.await;
        self.0.passes().await;
        if world.strikes(10) { Err(silent()) } else { answer }
    }
}

fn silent() -> BrokerError {
    BrokerError::Unavailable("no answer".into())
}

#[async_trait]
impl Broker for Link {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>> {
        let world = &self.0.world;
        world.step();
        self.0.passes().await;
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            // Lost, lost after a confirmation, sent twice, a confirmation lost.
            let copies = match world.draw(0..100) {
                0 if world.strikes(500) => 0,
                1 if world.strikes(500) => 2,
                _ => 1,
            };
            let mut answer = if copies == 0 { Err(silent()) } else { Ok(()) };
            for _ in 0..copies {
                let published = world.broker.publish(queue, vec![message.clone()]).await;
                answer = published.into_iter().next().unwrap_or_else(|| Err(silent()));
            }
            answers.push(if world.strikes(20) { Err(silent()) } else { answer });
        }
        self.0.passes().await;
        answers
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let inner = self.ask(self.0.world.broker.consume(queue, prefetch)).await?;
        let life = self.0.clone();
        Ok(Box::new(Tap { life, queue, prefetch, inner: Some(inner), has_stopped: false }))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        self.ask(self.0.world.broker.broadcast(topic, message)).await
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        let inner = self.ask(self.0.world.broker.subscribe(topic)).await?;
        Ok(Box::new(Ear { life: self.0.clone(), topic, inner }))
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.ask(self.0.world.broker.depth(queue)).await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.ask(self.0.world.broker.ping()).await
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// A consumer that loses its connection now and then and gets it again, as those of real
/// brokers do.
struct Tap {
    life: Arc<Life>,
    queue: Queue,
    prefetch: u16,
    inner: Option<Box<dyn Consumer>>,
    has_stopped: bool,
}

#[async_trait]
impl Consumer for Tap {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let Some(inner) = &mut self.inner else {
                if self.has_stopped {
                    return None;
                }
                let world = &self.life.world;
                sleep(world.draw_time(0..3000)).await;
                self.inner = world.broker.consume(self.queue, self.prefetch).await.ok();
                continue;
            };
            let delivery = tokio::select! {
                biased;
                () = self.life.cut.notified() => {
                    self.inner = None;
                    continue;
                }
                delivery = inner.next() => delivery?,
            };
            self.life.passes().await;
            let (message, redelivered) = (delivery.message.clone(), delivery.redelivered);
            let word = Word { life: self.life.clone(), delivery };
            return Some(Delivery::new(message, redelivered, Box::new(word)));
        }
    }

    async fn stop(&mut self) {
        self.has_stopped = true;
        if let Some(inner) = &mut self.inner {
            inner.stop().await;
        }
    }
}

/// What becomes of a delivery.
struct Word {
    life: Arc<Life>,
    delivery: Delivery,
}

#[async_trait]
impl Settle for Word {
    async fn ack(self: Box<Self>) {
        self.life.world.step();
        self.life.passes().await;
        // Where the word gets lost, the message comes again.
        if !self.life.world.strikes(20) {
            self.delivery.ack().await;
        }
    }

    async fn release(self: Box<Self>) {
        self.life.world.step();
        self.life.passes().await;
        self.delivery.release().await;
    }

    async fn reject(self: Box<Self>) {
        self.life.world.step();
        self.life.passes().await;
        self.delivery.reject().await;
    }
}

/// A subscription whose news come late.
struct Ear {
    life: Arc<Life>,
    topic: Topic,
    inner: Box<dyn Subscription>,
}

#[async_trait]
impl Subscription for Ear {
    async fn next(&mut self) -> Option<Received> {
        let received = tokio::select! {
            biased;
            () = self.life.cut.notified() => {
                let world = &self.life.world;
                loop {
                    sleep(world.draw_time(0..3000)).await;
                    if let Ok(inner) = world.broker.subscribe(self.topic).await {
                        self.inner = inner;
                        break Received::Gap;
                    }
                }
            }
            received = self.inner.next() => received?,
        };
        self.life.passes().await;
        Some(received)
    }

    fn call(&self, number: u64) {
        self.inner.call(number);
    }
}
