//! The in-process engine.

mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use strum::IntoEnumIterator as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use self::queue::MemoryQueue;
use crate::{
    Broker, BrokerError, Consumer, Message, Queue, Received, Subscription, Topic, WorkQueue,
};

/// How many messages a slow subscriber may lag behind before it misses some.
const BACKLOG: usize = 1024;
/// From this number of work queues on, unused ones are removed.
const MAX_WORK_QUEUES: usize = 256;

/// Queues and topics in memory, with the guarantees of a broker while the process lives.
///
/// [`pause`](Self::pause) and [`resume`](Self::resume) simulate an outage, for tests of the
/// code above the port.
pub struct MemoryBroker {
    task_queue: Arc<MemoryQueue>,
    work_queues: Mutex<HashMap<WorkQueue, Arc<MemoryQueue>>>,
    account_deletions: Arc<MemoryQueue>,
    dead_letters: Arc<MemoryQueue>,
    parked: Arc<MemoryQueue>,
    task_cancels: broadcast::Sender<Received>,
    task_events: broadcast::Sender<Received>,
    sessions: broadcast::Sender<Received>,
    paused: Arc<AtomicBool>,
}

impl MemoryBroker {
    /// Returns a broker with empty queues.
    pub fn new() -> Self {
        let dead_letters = Arc::default();
        Self {
            task_queue: Arc::new(MemoryQueue::with(&dead_letters)),
            work_queues: Mutex::default(),
            account_deletions: Arc::new(MemoryQueue::with(&dead_letters)),
            dead_letters,
            parked: Arc::default(),
            task_cancels: broadcast::Sender::new(BACKLOG),
            task_events: broadcast::Sender::new(BACKLOG),
            sessions: broadcast::Sender::new(BACKLOG),
            paused: Arc::default(),
        }
    }

    /// Starts an outage: every call returns [`BrokerError::Unavailable`], consumers and
    /// subscriptions receive nothing, and unsettled messages return to their queues.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.queues().iter().for_each(|queue| queue.pause());
    }

    /// Ends the outage: consumers receive messages again, and subscriptions a
    /// [`Received::Gap`].
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.queues().iter().for_each(|queue| queue.resume());
        for topic in [Topic::TaskCancels, Topic::TaskEvents, Topic::Sessions] {
            self.send(topic, Received::Gap);
        }
    }

    /// Returns the number of messages that were delivered and are not settled.
    pub fn unsettled(&self, queue: Queue) -> usize {
        self.queue(queue).unsettled()
    }

    fn queues(&self) -> Vec<Arc<MemoryQueue>> {
        let mut queues: Vec<_> = Queue::iter().map(|queue| self.queue(queue)).collect();
        queues.extend(self.work_queues.lock().values().cloned());
        queues
    }

    fn queue(&self, queue: Queue) -> Arc<MemoryQueue> {
        let queue = match queue {
            Queue::Tasks => &self.task_queue,
            Queue::Work(work) => return self.work_queue(work),
            Queue::AccountDeletions => &self.account_deletions,
            Queue::DeadLetters => &self.dead_letters,
            Queue::Parked => &self.parked,
        };
        Arc::clone(queue)
    }

    /// Returns the queue, which is created on first use.
    fn work_queue(&self, work: WorkQueue) -> Arc<MemoryQueue> {
        let mut queues = self.work_queues.lock();
        if queues.len() >= MAX_WORK_QUEUES && !queues.contains_key(&work) {
            queues.retain(|_, queue| Arc::strong_count(queue) > 1 || queue.is_used());
        }
        let create = || {
            let queue = MemoryQueue::with(&self.dead_letters);
            if self.paused.load(Ordering::SeqCst) {
                queue.pause();
            }
            Arc::new(queue)
        };
        Arc::clone(queues.entry(work).or_insert_with(create))
    }

    fn topic(&self, topic: Topic) -> &broadcast::Sender<Received> {
        match topic {
            Topic::TaskCancels => &self.task_cancels,
            Topic::TaskEvents => &self.task_events,
            Topic::Sessions => &self.sessions,
        }
    }

    fn send(&self, topic: Topic, received: Received) {
        // Fails without subscribers, which is fine.
        let _ = self.topic(topic).send(received);
    }

    fn check_available(&self) -> Result<(), BrokerError> {
        if self.paused.load(Ordering::SeqCst) { Err(paused()) } else { Ok(()) }
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

fn paused() -> BrokerError {
    BrokerError::Unavailable("paused".into())
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>> {
        let count = messages.len();
        let outcome = self.queue(queue).publish(messages);
        vec![outcome; count]
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        self.check_available()?;
        Ok(Box::new(self.queue(queue).consume(prefetch)))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        self.check_available()?;
        self.send(topic, Received::Message(message));
        Ok(())
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        self.check_available()?;
        let (probes, returned) = mpsc::unbounded_channel();
        let (received, paused) = (self.topic(topic).subscribe(), Arc::clone(&self.paused));
        Ok(Box::new(MemorySubscription { received, probes, returned, paused }))
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.check_available()?;
        Ok(self.queue(queue).depth())
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.check_available()
    }

    fn is_durable(&self) -> bool {
        false
    }
}

struct MemorySubscription {
    received: broadcast::Receiver<Received>,
    probes: mpsc::UnboundedSender<u64>,
    returned: mpsc::UnboundedReceiver<u64>,
    paused: Arc<AtomicBool>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Received> {
        tokio::select! {
            // What was broadcast before a probe is received before it.
            biased;
            received = self.received.recv() => match received {
                Ok(received) => Some(received),
                Err(RecvError::Lagged(_)) => Some(Received::Gap),
                Err(RecvError::Closed) => None,
            },
            Some(sequence) = self.returned.recv() => Some(Received::Probe(sequence)),
        }
    }

    fn send_probe(&self, sequence: u64) {
        if !self.paused.load(Ordering::SeqCst) {
            // Cannot fail: `self` owns the receiver.
            let _ = self.probes.send(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn message(number: u32) -> Message {
        Message::new(Uuid::new_v4(), &number)
    }

    #[tokio::test]
    async fn calls_fail_during_an_outage() {
        let broker = MemoryBroker::new();
        broker.pause();
        let unavailable = |answer: Result<(), BrokerError>| {
            assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
        };
        unavailable(broker.ping().await);
        unavailable(broker.broadcast(Topic::Sessions, message(1)).await);
        unavailable(broker.subscribe(Topic::Sessions).await.map(drop));
        unavailable(broker.consume(Queue::Tasks, 1).await.map(drop));
        unavailable(broker.depth(Queue::Tasks).await.map(drop));
        let answers = broker.publish(Queue::Tasks, vec![message(1), message(2)]).await;
        assert_eq!(answers.len(), 2);
        answers.into_iter().for_each(unavailable);

        broker.resume();
        assert!(broker.ping().await.is_ok());
        assert_eq!(broker.depth(Queue::Tasks).await.unwrap(), 0, "kept a refused message");
    }

    #[tokio::test]
    async fn outage_requeues_unsettled_messages() {
        let broker = MemoryBroker::new();
        let mut consumer = broker.consume(Queue::Tasks, 2).await.unwrap();
        broker.publish(Queue::Tasks, vec![message(1), message(2), message(3)]).await;
        let before = consumer.next().await.unwrap();
        broker.pause();
        before.ack().await;
        let silence = tokio::time::timeout(Duration::from_millis(20), consumer.next()).await;
        assert!(silence.is_err(), "delivered during the outage");

        broker.resume();
        let again = consumer.next().await.unwrap();
        assert_eq!(again.message.decode::<u32>().unwrap(), 1);
        assert!(again.redelivered);
        let next = consumer.next().await.unwrap();
        assert_eq!(next.message.decode::<u32>().unwrap(), 2);
        assert!(!next.redelivered);
        again.ack().await;
        assert_eq!(consumer.next().await.unwrap().message.decode::<u32>().unwrap(), 3);
    }

    #[tokio::test]
    async fn outage_is_a_gap_for_subscribers() {
        let broker = MemoryBroker::new();
        let mut subscription = broker.subscribe(Topic::TaskCancels).await.unwrap();
        broker.pause();
        broker.resume();
        assert!(matches!(subscription.next().await, Some(Received::Gap)));
    }

    #[tokio::test]
    async fn slow_subscriber_receives_a_gap() {
        let broker = MemoryBroker::new();
        let mut subscription = broker.subscribe(Topic::TaskEvents).await.unwrap();
        for _ in 0..=BACKLOG {
            broker.broadcast(Topic::TaskEvents, message(1)).await.unwrap();
        }
        assert!(matches!(subscription.next().await, Some(Received::Gap)));
        assert!(matches!(subscription.next().await, Some(Received::Message(_))));
    }

    #[tokio::test]
    async fn messages_are_delivered_round_robin() {
        let broker = MemoryBroker::new();
        let mut consumers = Vec::new();
        for _ in 0..3 {
            consumers.push(broker.consume(Queue::Tasks, 100).await.unwrap());
        }
        broker.publish(Queue::Tasks, (0..30).map(message).collect()).await;
        for consumer in &mut consumers {
            for _ in 0..10 {
                assert!(consumer.next().await.is_some());
            }
        }
    }
}
