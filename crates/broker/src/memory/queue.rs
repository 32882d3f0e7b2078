//! A queue in memory.
//!
//! Messages are assigned to consumers round-robin within their prefetch and wait in the
//! consumer's inbox. All state is behind one lock that is held briefly; a message needs no
//! task or channel of its own.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::coop::cooperative;

use crate::{BrokerError, Consumer, Delivery, Message, Settle};

/// The capacity that an empty queue keeps after a burst.
const IDLE_CAPACITY: usize = 4096;

#[derive(Default)]
pub(super) struct MemoryQueue {
    state: Mutex<State>,
    /// The queue of rejected messages.
    dead_letters: Option<Arc<MemoryQueue>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Settlement {
    Ack,
    Release,
    Reject,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Queued>,
    consumers: Vec<ConsumerState>,
    /// The index into `consumers` to start at.
    next_consumer: usize,
    /// The last id given to a consumer or a delivery.
    last_id: u64,
    paused: bool,
}

struct Queued {
    message: Message,
    redelivered: bool,
}

/// The queue's view of a consumer.
struct ConsumerState {
    id: u64,
    prefetch: usize,
    /// Assigned to the consumer, but not yet taken by it.
    inbox: VecDeque<Queued>,
    /// Delivered and not settled, by delivery id.
    unsettled: BTreeMap<u64, Message>,
    stopped: bool,
    waker: Option<Waker>,
}

impl MemoryQueue {
    pub(super) fn with(dead_letters: &Arc<Self>) -> Self {
        Self { dead_letters: Some(Arc::clone(dead_letters)), ..Self::default() }
    }

    pub(super) fn publish(&self, messages: Vec<Message>) -> Result<(), BrokerError> {
        if self.state.lock().paused {
            return Err(super::paused());
        }
        self.receive(messages);
        Ok(())
    }

    pub(super) fn consume(self: &Arc<Self>, prefetch: u16) -> MemoryConsumer {
        let id = self.update(|state| {
            let id = state.next_id();
            state.consumers.push(ConsumerState {
                id,
                prefetch: usize::from(prefetch.max(1)),
                inbox: VecDeque::new(),
                unsettled: BTreeMap::new(),
                stopped: false,
                waker: None,
            });
            id
        });
        MemoryConsumer { queue: Arc::clone(self), id }
    }

    pub(super) fn depth(&self) -> u64 {
        self.state.lock().waiting.len() as u64
    }

    /// Whether it has messages or consumers.
    pub(super) fn is_used(&self) -> bool {
        let state = self.state.lock();
        !state.waiting.is_empty() || !state.consumers.is_empty()
    }

    pub(super) fn unsettled(&self) -> usize {
        self.state.lock().consumers.iter().map(|consumer| consumer.unsettled.len()).sum()
    }

    pub(super) fn pause(&self) {
        self.update(|state| {
            state.paused = true;
            for index in 0..state.consumers.len() {
                state.requeue(index);
            }
        });
    }

    pub(super) fn resume(&self) {
        self.update(|state| state.paused = false);
    }

    /// Changes the state, assigns waiting messages, and wakes their consumers after the lock
    /// is released.
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let woken = state.assign_waiting();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    fn settle(&self, consumer: u64, delivery_id: u64, settlement: Settlement) {
        let rejected = self.update(|state| {
            // Without effect if the consumer was dropped, or lost its deliveries in an outage:
            // they are back in the queue.
            let message =
                state.consumer(consumer).and_then(|m| m.unsettled.remove(&delivery_id))?;
            match settlement {
                Settlement::Ack => None,
                Settlement::Release => {
                    state.waiting.push_front(Queued { message, redelivered: true });
                    None
                }
                Settlement::Reject => Some(message),
            }
        });
        if let (Some(message), Some(dead_letters)) = (rejected, &self.dead_letters) {
            dead_letters.receive([message]);
        }
    }

    fn receive(&self, messages: impl IntoIterator<Item = Message>) {
        let fresh = |message| Queued { message, redelivered: false };
        self.update(|state| state.waiting.extend(messages.into_iter().map(fresh)));
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn consumer(&mut self, id: u64) -> Option<&mut ConsumerState> {
        self.consumers.iter_mut().find(|consumer| consumer.id == id)
    }

    /// Assigns waiting messages to consumers with free capacity, round-robin. Returns the
    /// wakers of those consumers.
    fn assign_waiting(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        if self.paused {
            return woken;
        }
        while !self.waiting.is_empty()
            && let Some(index) = self.next_free()
            && let Some(waiting) = self.waiting.pop_front()
        {
            let consumer = &mut self.consumers[index];
            consumer.inbox.push_back(waiting);
            woken.extend(consumer.waker.take());
            self.next_consumer = index + 1;
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to(IDLE_CAPACITY);
        }
        woken
    }

    fn next_free(&self) -> Option<usize> {
        let count = self.consumers.len();
        (0..count)
            .map(|step| (self.next_consumer + step) % count)
            .find(|&index| self.consumers[index].has_room())
    }

    /// Returns everything that a consumer holds to the front of the queue, in order.
    fn requeue(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        while let Some(waiting) = consumer.inbox.pop_back() {
            self.waiting.push_front(waiting);
        }
        while let Some((_, message)) = consumer.unsettled.pop_last() {
            self.waiting.push_front(Queued { message, redelivered: true });
        }
    }
}

impl ConsumerState {
    fn has_room(&self) -> bool {
        !self.stopped && self.inbox.len() + self.unsettled.len() < self.prefetch
    }
}

pub(super) struct MemoryConsumer {
    queue: Arc<MemoryQueue>,
    id: u64,
}

impl MemoryConsumer {
    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Delivery>> {
        let mut state = self.queue.state.lock();
        let delivery_id = state.next_id();
        let Some(consumer) = state.consumer(self.id).filter(|consumer| !consumer.stopped) else {
            return Poll::Ready(None);
        };
        let Some(Queued { message, redelivered }) = consumer.inbox.pop_front() else {
            consumer.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        consumer.unsettled.insert(delivery_id, message.clone());
        drop(state);
        let handle = Handle { queue: Arc::clone(&self.queue), consumer: self.id, delivery_id };
        Poll::Ready(Some(Delivery::new(message, redelivered, Box::new(MemorySettle(Some(handle))))))
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        // Cooperative, so that a long queue does not occupy the thread until it is empty.
        cooperative(poll_fn(|cx| self.poll_next(cx))).await
    }

    async fn stop(&mut self) {
        self.queue.update(|state| {
            let Some(consumer) = state.consumer(self.id) else { return };
            consumer.stopped = true;
            let inbox = std::mem::take(&mut consumer.inbox);
            for waiting in inbox.into_iter().rev() {
                state.waiting.push_front(waiting);
            }
        });
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.queue.update(|state| {
            if let Some(index) = state.consumers.iter().position(|consumer| consumer.id == self.id)
            {
                state.requeue(index);
                state.consumers.remove(index);
            }
        });
    }
}

struct Handle {
    queue: Arc<MemoryQueue>,
    consumer: u64,
    delivery_id: u64,
}

/// `None` once settled.
struct MemorySettle(Option<Handle>);

impl MemorySettle {
    fn settle(&mut self, settlement: Settlement) {
        if let Some(Handle { queue, consumer, delivery_id }) = self.0.take() {
            queue.settle(consumer, delivery_id, settlement);
        }
    }
}

#[async_trait]
impl Settle for MemorySettle {
    async fn ack(mut self: Box<Self>) {
        self.settle(Settlement::Ack);
    }

    async fn release(mut self: Box<Self>) {
        self.settle(Settlement::Release);
    }

    async fn reject(mut self: Box<Self>) {
        self.settle(Settlement::Reject);
    }
}

impl Drop for MemorySettle {
    fn drop(&mut self) {
        self.settle(if std::thread::panicking() {
            Settlement::Reject
        } else {
            Settlement::Release
        });
    }
}
