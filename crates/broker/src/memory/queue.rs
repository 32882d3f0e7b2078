//! A queue in memory.
//!
//! Messages are handed to consumers in turn, as far as their prefetch allows, and wait
//! there to be asked for. Everything happens under one short lock: a message costs no
//! task and no channel of its own.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::coop::cooperative;

use crate::{BrokerError, Consumer, Delivery, Message, Settle};

/// How many messages an empty queue keeps room for; more was a burst.
const SPARE: usize = 4096;

#[derive(Default)]
pub(super) struct MemoryQueue {
    state: Mutex<State>,
    /// Where rejected messages go.
    dead_letters: Option<Arc<MemoryQueue>>,
}

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Again,
    Rejected,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    members: Vec<Member>,
    /// Whose turn it is, as an index into `members`.
    turn: usize,
    /// The newest number given to a consumer or a delivery.
    newest: u64,
    paused: bool,
}

struct Waiting {
    message: Message,
    redelivered: bool,
}

/// A consumer as its queue sees it.
struct Member {
    id: u64,
    prefetch: usize,
    /// Given to this consumer, but not yet asked for by it.
    inbox: VecDeque<Waiting>,
    /// Delivered and not yet settled, by delivery number.
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
        let id = self.change(|state| {
            let id = state.number();
            state.members.push(Member {
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

    pub(super) fn pause(&self) {
        self.change(|state| {
            state.paused = true;
            for index in 0..state.members.len() {
                state.take_back(index);
            }
        });
    }

    pub(super) fn resume(&self) {
        self.change(|state| state.paused = false);
    }

    /// Changes the state, hands out what can be handed out now, and wakes whom that
    /// concerns once the lock is free.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let answer = change(&mut state);
        let woken = state.hand_out();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        answer
    }

    fn settle(&self, consumer: u64, number: u64, fate: Fate) {
        let rejected = self.change(|state| {
            // Nobody there or nothing open: the consumer went away in the meantime
            // and its messages with it, so that the word comes too late.
            let message = state.member(consumer).and_then(|m| m.unsettled.remove(&number))?;
            match fate {
                Fate::Done => None,
                Fate::Again => {
                    state.waiting.push_front(Waiting { message, redelivered: true });
                    None
                }
                Fate::Rejected => Some(message),
            }
        });
        if let (Some(message), Some(dead_letters)) = (rejected, &self.dead_letters) {
            dead_letters.receive([message]);
        }
    }

    fn receive(&self, messages: impl IntoIterator<Item = Message>) {
        let fresh = |message| Waiting { message, redelivered: false };
        self.change(|state| state.waiting.extend(messages.into_iter().map(fresh)));
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    fn member(&mut self, id: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    /// Gives waiting messages to the members in turn, passing by those that have
    /// enough; answers whom to wake.
    fn hand_out(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        if self.paused {
            return woken;
        }
        while !self.waiting.is_empty()
            && let Some(index) = self.next_free()
            && let Some(waiting) = self.waiting.pop_front()
        {
            let member = &mut self.members[index];
            member.inbox.push_back(waiting);
            woken.extend(member.waker.take());
            self.turn = index + 1;
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to(SPARE);
        }
        woken
    }

    fn next_free(&self) -> Option<usize> {
        let count = self.members.len();
        (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|&index| self.members[index].has_room())
    }

    /// Puts what the member at `index` holds back to the front of the queue, in the
    /// order it was handed out.
    fn take_back(&mut self, index: usize) {
        let member = &mut self.members[index];
        while let Some(waiting) = member.inbox.pop_back() {
            self.waiting.push_front(waiting);
        }
        while let Some((_, message)) = member.unsettled.pop_last() {
            self.waiting.push_front(Waiting { message, redelivered: true });
        }
    }
}

impl Member {
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
        let number = state.number();
        let Some(member) = state.member(self.id).filter(|member| !member.stopped) else {
            return Poll::Ready(None);
        };
        let Some(Waiting { message, redelivered }) = member.inbox.pop_front() else {
            member.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        member.unsettled.insert(number, message.clone());
        drop(state);
        let handle = Handle { queue: Arc::clone(&self.queue), consumer: self.id, number };
        Poll::Ready(Some(Delivery::new(message, redelivered, Box::new(MemorySettle(Some(handle))))))
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        // Cooperative, because a long queue would otherwise keep its consumer's thread
        // for itself until it is empty.
        cooperative(poll_fn(|cx| self.poll_next(cx))).await
    }

    async fn stop(&mut self) {
        self.queue.change(|state| {
            let Some(member) = state.member(self.id) else { return };
            member.stopped = true;
            let inbox = std::mem::take(&mut member.inbox);
            for waiting in inbox.into_iter().rev() {
                state.waiting.push_front(waiting);
            }
        });
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.queue.change(|state| {
            if let Some(index) = state.members.iter().position(|member| member.id == self.id) {
                state.take_back(index);
                state.members.remove(index);
            }
        });
    }
}

struct Handle {
    queue: Arc<MemoryQueue>,
    consumer: u64,
    number: u64,
}

/// Empty once settled.
struct MemorySettle(Option<Handle>);

impl MemorySettle {
    fn settle(&mut self, fate: Fate) {
        if let Some(Handle { queue, consumer, number }) = self.0.take() {
            queue.settle(consumer, number, fate);
        }
    }
}

#[async_trait]
impl Settle for MemorySettle {
    async fn ack(mut self: Box<Self>) {
        self.settle(Fate::Done);
    }

    async fn release(mut self: Box<Self>) {
        self.settle(Fate::Again);
    }

    async fn reject(mut self: Box<Self>) {
        self.settle(Fate::Rejected);
    }
}

impl Drop for MemorySettle {
    fn drop(&mut self) {
        self.settle(if std::thread::panicking() { Fate::Rejected } else { Fate::Again });
    }
}
