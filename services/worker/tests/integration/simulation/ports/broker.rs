//! The simulated broker of a process.

use std::sync::Arc;

use async_trait::async_trait;
use miniapp_broker::{
    Broker, BrokerError, Consumer, Delivery, Message, Queue, Received, Settle, Subscription, Topic,
};
use tokio::time::sleep;

use crate::simulation::process::ProcessHandle;

/// The broker port of a process.
pub struct BrokerPort(pub Arc<ProcessHandle>);

impl BrokerPort {
    /// Calls the broker. Faults may occur before and after the call.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, BrokerError>> + Send,
    ) -> Result<T, BrokerError> {
        let world = &self.0.world;
        world.step();
        self.0.step().await;
        if world.fault(10) {
            return Err(silent());
        }
        let answer = call.await;
        self.0.step().await;
        if world.fault(10) { Err(silent()) } else { answer }
    }
}

fn silent() -> BrokerError {
    BrokerError::Unavailable("no answer".into())
}

#[async_trait]
impl Broker for BrokerPort {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>> {
        let world = &self.0.world;
        world.step();
        self.0.step().await;
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            // Lost, lost after the confirm, duplicated, confirm lost.
            let copies = match world.draw(0..100) {
                0 if world.fault(500) => 0,
                1 if world.fault(500) => 2,
                _ => 1,
            };
            let mut answer = if copies == 0 { Err(silent()) } else { Ok(()) };
            for _ in 0..copies {
                let published = world.broker.publish(queue, vec![message.clone()]).await;
                answer = published.into_iter().next().unwrap_or_else(|| Err(silent()));
            }
            answers.push(if world.fault(20) { Err(silent()) } else { answer });
        }
        self.0.step().await;
        answers
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let inner = self.call(self.0.world.broker.consume(queue, prefetch)).await?;
        let process = self.0.clone();
        Ok(Box::new(SimulatedConsumer {
            process,
            queue,
            prefetch,
            inner: Some(inner),
            has_stopped: false,
        }))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        self.call(self.0.world.broker.broadcast(topic, message)).await
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        let inner = self.call(self.0.world.broker.subscribe(topic)).await?;
        Ok(Box::new(SimulatedSubscription { process: self.0.clone(), topic, inner }))
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.call(self.0.world.broker.depth(queue)).await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.call(self.0.world.broker.ping()).await
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// A consumer that sometimes loses its connection and reconnects.
struct SimulatedConsumer {
    process: Arc<ProcessHandle>,
    queue: Queue,
    prefetch: u16,
    inner: Option<Box<dyn Consumer>>,
    has_stopped: bool,
}

#[async_trait]
impl Consumer for SimulatedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let Some(inner) = &mut self.inner else {
                if self.has_stopped {
                    return None;
                }
                let world = &self.process.world;
                sleep(world.draw_time(0..3000)).await;
                self.inner = world.broker.consume(self.queue, self.prefetch).await.ok();
                continue;
            };
            let delivery = tokio::select! {
                biased;
                () = self.process.cut.notified() => {
                    self.inner = None;
                    continue;
                }
                delivery = inner.next() => delivery?,
            };
            self.process.step().await;
            let (message, redelivered) = (delivery.message.clone(), delivery.redelivered);
            let word = SimulatedSettle { process: self.process.clone(), delivery };
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

/// Settles a delivery.
struct SimulatedSettle {
    process: Arc<ProcessHandle>,
    delivery: Delivery,
}

#[async_trait]
impl Settle for SimulatedSettle {
    async fn ack(self: Box<Self>) {
        self.process.world.step();
        self.process.step().await;
        // If the ack is lost, the message is redelivered.
        if !self.process.world.fault(20) {
            self.delivery.ack().await;
        }
    }

    async fn release(self: Box<Self>) {
        self.process.world.step();
        self.process.step().await;
        self.delivery.release().await;
    }

    async fn reject(self: Box<Self>) {
        self.process.world.step();
        self.process.step().await;
        self.delivery.reject().await;
    }
}

/// A subscription with delays.
struct SimulatedSubscription {
    process: Arc<ProcessHandle>,
    topic: Topic,
    inner: Box<dyn Subscription>,
}

#[async_trait]
impl Subscription for SimulatedSubscription {
    async fn next(&mut self) -> Option<Received> {
        let received = tokio::select! {
            biased;
            () = self.process.cut.notified() => {
                let world = &self.process.world;
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
        self.process.step().await;
        Some(received)
    }

    fn send_probe(&self, sequence: u64) {
        self.inner.send_probe(sequence);
    }
}
