//! Takes offers from a work queue.
//!
//! A message of a work queue offers a task. Its consumer claims the task and acknowledges the
//! message as soon as the claim has committed: from then on the lease protects the task. What
//! bounds the number of running tasks is therefore not the prefetch but a number of slots. An
//! offer that finds no free slot is returned, and the queue is consumed again when a slot is
//! free, so that a busy process holds no messages that another one could take.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, BrokerError, Consumer, Delivery, Message, Queue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long an offer waits for a free slot before it is returned. Long enough to keep slots busy
/// with short tasks, for which subscribing again would take longer than running them.
const SLOT_TIMEOUT: Duration = Duration::from_millis(250);

/// An offered task. It must be settled; dropping it returns it.
pub struct Offer {
    pub delivery: Delivery,
    _unsettled: TaskTrackerToken,
}

impl Offer {
    pub fn message(&self) -> &Message {
        &self.delivery.message
    }

    /// Removes the offer, after the claim has committed or was refused.
    pub async fn ack(self) {
        self.delivery.ack().await;
    }

    /// Returns the offer for other consumers.
    pub async fn release(self) {
        self.delivery.release().await;
    }

    /// Dead-letters an offer that cannot be read.
    pub async fn reject(self) {
        self.delivery.reject().await;
    }
}

/// Takes the offers of one queue while slots are free.
pub struct OfferConsumer {
    queue: Queue,
    slots: Arc<Semaphore>,
    /// Consumers that were stopped. The end of a consumer returns its unsettled offers, so each
    /// is kept until it has none.
    stopped: Vec<(Box<dyn Consumer>, TaskTracker)>,
}

impl OfferConsumer {
    /// `slots` may be shared with other queues, and may grow and shrink.
    pub fn new(queue: Queue, slots: Arc<Semaphore>) -> Self {
        Self { queue, slots, stopped: Vec::new() }
    }

    /// Passes each offer to `start` with the slot that it uses. Returns when `interrupted`
    /// completes, or earlier: after the slots were full, and when their number has changed. The
    /// caller calls it again.
    ///
    /// # Errors
    ///
    /// Fails if the queue cannot be consumed.
    pub async fn take(
        &mut self,
        broker: &dyn Broker,
        interrupted: impl Future<Output = ()>,
        mut start: impl FnMut(Offer, OwnedSemaphorePermit),
    ) -> Result<(), BrokerError> {
        let mut interrupted = pin!(interrupted);
        self.stopped.retain(|(_, unsettled)| !unsettled.is_empty());
        tokio::select! {
            biased;
            () = &mut interrupted => return Ok(()),
            free = self.slots.acquire() => drop(free),
        }
        let prefetch = u16::try_from(self.slots.available_permits()).unwrap_or(u16::MAX).max(1);
        let mut consumer = tokio::select! {
            biased;
            () = &mut interrupted => return Ok(()),
            consumer = broker.consume(self.queue, prefetch) => consumer?,
        };
        let unsettled = TaskTracker::new();
        let mut returned = None;
        let ended = loop {
            let delivery = tokio::select! {
                biased;
                () = &mut interrupted => break Ok(()),
                next = consumer.next() => match next {
                    Some(delivery) => delivery,
                    None => break Err(BrokerError::Unavailable("the consumer ended".into())),
                },
            };
            let slot = tokio::select! {
                biased;
                () = &mut interrupted => None,
                slot = timeout(SLOT_TIMEOUT, self.slots.clone().acquire_owned()) => {
                    slot.ok().and_then(Result::ok)
                }
            };
            let Some(slot) = slot else {
                returned = Some(delivery);
                break Ok(());
            };
            start(Offer { delivery, _unsettled: unsettled.token() }, slot);
            // Subscribed when few slots were free: more messages can be taken at once now.
            if self.slots.available_permits() >= 2 * usize::from(prefetch) {
                break Ok(());
            }
        };
        consumer.stop().await;
        if let Some(delivery) = returned {
            delivery.release().await;
        }
        self.stopped.push((consumer, unsettled));
        ended
    }

    /// Waits until all offers are settled.
    pub async fn settled(self) {
        for (_consumer, unsettled) in self.stopped {
            unsettled.close();
            unsettled.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use miniapp_broker::{MemoryBroker, Subscription, Topic};
    use parking_lot::Mutex;
    use tokio::time::sleep;
    use uuid::Uuid;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// Records the prefetch of each consumer.
    #[derive(Default)]
    struct Recording {
        broker: MemoryBroker,
        prefetches: Mutex<Vec<u16>>,
    }

    #[async_trait]
    impl Broker for Recording {
        async fn publish(
            &self,
            queue: Queue,
            messages: Vec<Message>,
        ) -> Vec<Result<(), BrokerError>> {
            self.broker.publish(queue, messages).await
        }

        async fn consume(
            &self,
            queue: Queue,
            prefetch: u16,
        ) -> Result<Box<dyn Consumer>, BrokerError> {
            self.prefetches.lock().push(prefetch);
            self.broker.consume(queue, prefetch).await
        }

        async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
            self.broker.broadcast(topic, message).await
        }

        async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
            self.broker.subscribe(topic).await
        }

        async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
            self.broker.depth(queue).await
        }

        async fn ping(&self) -> Result<(), BrokerError> {
            self.broker.ping().await
        }

        fn is_durable(&self) -> bool {
            self.broker.is_durable()
        }
    }

    async fn publish(broker: &Recording, count: usize) {
        let message = || Message::new(Uuid::new_v4(), &());
        let messages = std::iter::repeat_with(message).take(count).collect();
        let results = broker.publish(Queue::Tasks, messages).await;
        assert!(results.iter().all(Result::is_ok));
    }

    /// Acknowledges each offer at once and uses its slot for `duration`.
    async fn run(broker: &Recording, slots: &Arc<Semaphore>, duration: Duration) {
        let mut offers = OfferConsumer::new(Queue::Tasks, slots.clone());
        loop {
            let start = |offer: Offer, slot| {
                tokio::spawn(async move {
                    offer.ack().await;
                    sleep(duration).await;
                    drop(slot);
                });
            };
            offers.take(broker, std::future::pending(), start).await.expect("a broker");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn offers_without_a_slot_are_returned_once_per_slot() {
        let (broker, slots) = (Recording::default(), Arc::new(Semaphore::new(2)));
        publish(&broker, 8).await;
        let _ = timeout(2 * HOUR + HOUR / 2, run(&broker, &slots, HOUR)).await;
        assert_eq!(broker.depth(Queue::Tasks).await.ok(), Some(2), "three times two have started");
        // A subscription that finds no slot, and one for each time that slots became free.
        let prefetches = broker.prefetches.lock().clone();
        assert!(prefetches.len() <= 6, "{prefetches:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_held_while_all_slots_are_used() {
        let (broker, slots) = (Recording::default(), Arc::new(Semaphore::new(1)));
        publish(&broker, 3).await;
        let _ = timeout(HOUR / 2, async {
            tokio::join!(run(&broker, &slots, HOUR), async {
                sleep(HOUR / 4).await;
                assert_eq!(broker.broker.unsettled(Queue::Tasks), 0);
                assert_eq!(broker.depth(Queue::Tasks).await.ok(), Some(2));
            })
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn more_is_taken_at_once_when_more_slots_are_free() {
        let (broker, slots) = (Recording::default(), Arc::new(Semaphore::new(16)));
        let used = slots.clone().acquire_many_owned(15).await.expect("slots");
        let _ = timeout(HOUR, async {
            tokio::join!(run(&broker, &slots, Duration::ZERO), async {
                publish(&broker, 1).await;
                sleep(Duration::from_secs(1)).await;
                drop(used);
                publish(&broker, 1).await;
                sleep(Duration::from_secs(1)).await;
                assert_eq!(broker.prefetches.lock().as_slice(), [1, 15]);
            })
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn offers_of_a_stopped_consumer_can_be_settled() {
        let (broker, slots) = (Recording::default(), Arc::new(Semaphore::new(1)));
        publish(&broker, 2).await;
        let (mut offers, mut taken) = (OfferConsumer::new(Queue::Tasks, slots), Vec::new());
        let start = |offer, slot| taken.push((offer, slot));
        offers.take(&broker, sleep(HOUR), start).await.expect("a broker");
        assert_eq!(taken.len(), 1);
        for (offer, _slot) in taken {
            offer.ack().await;
        }
        drop(offers);
        assert_eq!(broker.depth(Queue::Tasks).await.ok(), Some(1), "one is acknowledged");
    }
}
