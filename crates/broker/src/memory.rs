//! The in-process engine.

mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use self::queue::MemoryQueue;
use crate::{Broker, BrokerError, Consumer, Message, Queue, Received, Subscription, Topic};

/// How many messages a subscriber may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Queues and topics in this process's memory, with the guarantees of a real broker
/// for as long as the process lives.
///
/// [`pause`](Self::pause) and [`resume`](Self::resume) act out an outage, so that
/// tests can see how everything above the port copes with one.
pub struct MemoryBroker {
    task_queue: Arc<MemoryQueue>,
    account_deletions: Arc<MemoryQueue>,
    dead_letters: Arc<MemoryQueue>,
    parked: Arc<MemoryQueue>,
    task_cancels: broadcast::Sender<Received>,
    task_events: broadcast::Sender<Received>,
    sessions: broadcast::Sender<Received>,
    paused: Arc<AtomicBool>,
}

impl MemoryBroker {
    /// A broker with empty queues.
    pub fn new() -> Self {
        let dead_letters = Arc::default();
        Self {
            task_queue: Arc::new(MemoryQueue::with(&dead_letters)),
            account_deletions: Arc::new(MemoryQueue::with(&dead_letters)),
            dead_letters,
            parked: Arc::default(),
            task_cancels: broadcast::Sender::new(BACKLOG),
            task_events: broadcast::Sender::new(BACKLOG),
            sessions: broadcast::Sender::new(BACKLOG),
            paused: Arc::default(),
        }
    }

    /// Loses every connection: whatever is asked of the broker answers
    /// [`BrokerError::Unavailable`], consumers and subscriptions fall silent, and
    /// what consumers have not settled goes back into its queue.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.queues().for_each(MemoryQueue::pause);
    }

    /// Ends what [`pause`](Self::pause) began: consumers get messages again, and
    /// subscriptions hear of the gap.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.queues().for_each(MemoryQueue::resume);
        for topic in [Topic::TaskCancels, Topic::TaskEvents, Topic::Sessions] {
            self.tell(topic, Received::Gap);
        }
    }

    fn queues(&self) -> impl Iterator<Item = &MemoryQueue> {
        [Queue::Tasks, Queue::AccountDeletions, Queue::DeadLetters, Queue::Parked]
            .into_iter()
            .map(|queue| &**self.queue(queue))
    }

    fn queue(&self, queue: Queue) -> &Arc<MemoryQueue> {
        match queue {
            Queue::Tasks => &self.task_queue,
            Queue::AccountDeletions => &self.account_deletions,
            Queue::DeadLetters => &self.dead_letters,
            Queue::Parked => &self.parked,
        }
    }

    fn topic(&self, topic: Topic) -> &broadcast::Sender<Received> {
        match topic {
            Topic::TaskCancels => &self.task_cancels,
            Topic::TaskEvents => &self.task_events,
            Topic::Sessions => &self.sessions,
        }
    }

    fn tell(&self, topic: Topic, news: Received) {
        // It fails where nobody listens, which is nobody's loss.
        let _ = self.topic(topic).send(news);
    }

    fn answers(&self) -> Result<(), BrokerError> {
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
        self.answers()?;
        Ok(Box::new(self.queue(queue).consume(prefetch)))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        self.answers()?;
        self.tell(topic, Received::Message(message));
        Ok(())
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        self.answers()?;
        let (probes, returned) = mpsc::unbounded_channel();
        let (news, paused) = (self.topic(topic).subscribe(), Arc::clone(&self.paused));
        Ok(Box::new(MemorySubscription { news, probes, returned, paused }))
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.answers()?;
        Ok(self.queue(queue).depth())
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.answers()
    }

    fn is_durable(&self) -> bool {
        false
    }
}

struct MemorySubscription {
    news: broadcast::Receiver<Received>,
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
            told = self.news.recv() => match told {
                Ok(received) => Some(received),
                Err(RecvError::Lagged(_)) => Some(Received::Gap),
                Err(RecvError::Closed) => None,
            },
            Some(sequence) = self.returned.recv() => Some(Received::Probe(sequence)),
        }
    }

    fn send_probe(&self, sequence: u64) {
        if !self.paused.load(Ordering::SeqCst) {
            // The other end is here.
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
    async fn refuses_everything_during_an_outage() {
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
        assert_eq!(broker.depth(Queue::Tasks).await.unwrap(), 0, "kept what it refused");
    }

    #[tokio::test]
    async fn an_outage_takes_back_what_was_not_settled() {
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
    async fn subscribers_hear_of_an_outage() {
        let broker = MemoryBroker::new();
        let mut subscription = broker.subscribe(Topic::TaskCancels).await.unwrap();
        broker.pause();
        broker.resume();
        assert!(matches!(subscription.next().await, Some(Received::Gap)));
    }

    #[tokio::test]
    async fn a_slow_subscriber_hears_of_what_it_missed() {
        let broker = MemoryBroker::new();
        let mut subscription = broker.subscribe(Topic::TaskEvents).await.unwrap();
        for _ in 0..=BACKLOG {
            broker.broadcast(Topic::TaskEvents, message(1)).await.unwrap();
        }
        assert!(matches!(subscription.next().await, Some(Received::Gap)));
        assert!(matches!(subscription.next().await, Some(Received::Message(_))));
    }

    #[tokio::test]
    async fn hands_messages_out_in_turn() {
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
