//! The broker as a process reaches it.

use std::sync::Arc;

use async_trait::async_trait;
use miniapp_broker::{
    Broker, BrokerError, Consumer, Delivery, Message, Queue, Received, Settle, Subscription, Topic,
};
use tokio::time::sleep;

use crate::simulation::process::Life;

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

    fn send_probe(&self, sequence: u64) {
        self.inner.send_probe(sequence);
    }
}
