//! Brings due tasks to the workers: the sending side of the outbox.
//!
//! The duty to send a message about a task is a column of the task, committed with it.
//! A task that is due at once is told to the relay of the process that committed it,
//! which publishes it without asking the store. Everything else it finds by looking:
//! delayed tasks a moment before their time, and tasks that have been due for too long,
//! because a process died or the broker was away. Only the broker's confirmation ends
//! the duty. Copies of a message are harmless: a task is claimed once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use miniapp_broker::{Broker, BrokerError, Message, Queue};
use miniapp_runtime::clock::new_id;
use miniapp_runtime::retry::RetryLogger;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::message::TaskReady;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

use crate::Tasks;
use crate::engine::{DueTask, StoreError, TakeDue};
use crate::spans::Dispatching;

/// How often to look for delayed and forgotten tasks.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// A task that is told and due this soon might be missed by a look. Others are left to it,
/// or they would be sent twice.
const SCHEDULE_WINDOW: SignedDuration = SignedDuration::from_millis(400);
/// How far ahead delayed tasks are taken, so that they run on time.
const LOOKAHEAD: SignedDuration = SignedDuration::from_secs(1);
/// A task due at once that is still due after this was forgotten by its process.
const OVERDUE: SignedDuration = SignedDuration::from_secs(2);
/// For how long what was taken is left to this process.
const VISIBILITY_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);
/// A task that nobody claimed this long after its confirmation is noted as dispatched;
/// most are claimed before, which ends the duty without another write.
const MARK_DELAY: Duration = Duration::from_millis(500);
/// How many messages are published together.
const BATCH_SIZE: usize = 256;
/// How many publishes may be under way.
const MAX_IN_FLIGHT: usize = 8;
/// How many messages may wait in the broker. More would only take its memory: the store
/// keeps the rest, due as they are.
const MAX_QUEUED: u64 = 8 * 1024;
/// How long to leave the broker alone after it failed.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Before when everything is due that may run at `now`, whoever has taken it over.
pub(crate) fn visibility_deadline(now: Timestamp) -> Timestamp {
    now.saturating_add(LOOKAHEAD + VISIBILITY_TIMEOUT).unwrap_or(Timestamp::MAX)
}

/// A due in this process's hands.
struct LeasedDue {
    due: DueTask,
    /// From then on another process may have found it in the store and taken it over.
    until: Timestamp,
}

/// What is published and how that ended.
struct Published {
    dues: Vec<LeasedDue>,
    results: Vec<Result<(), BrokerError>>,
}

/// The relay of a process.
pub(crate) struct Relay {
    tasks: Tasks,
    broker: Arc<dyn Broker>,
    /// To be published now.
    ready: Vec<LeasedDue>,
    /// To be published at a time that is near.
    near: BinaryHeap<Reverse<Scheduled>>,
    /// Confirmed, but not noted in the store.
    confirmed: Vec<(Instant, Uuid, u64)>,
    /// Until when the broker is left alone.
    paused_until: Option<Instant>,
    /// Enough messages wait in the broker.
    full: bool,
}

impl Relay {
    pub fn new(tasks: Tasks, broker: Arc<dyn Broker>) -> Self {
        Self {
            tasks,
            broker,
            ready: Vec::new(),
            near: BinaryHeap::new(),
            confirmed: Vec::new(),
            paused_until: None,
            full: false,
        }
    }

    /// Publishes until `stop`, and then what is ready.
    pub async fn run(mut self, mut told: mpsc::Receiver<DueTask>, stop: &Shutdown) {
        let mut look = interval(POLL_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        let mut gathered = Vec::with_capacity(BATCH_SIZE);
        let mut is_told = true;
        let mut retry_log = RetryLogger::new("looking for due tasks");
        while is_told || !self.ready.is_empty() || !under_way.is_empty() {
            while under_way.len() < MAX_IN_FLIGHT && !self.ready.is_empty() && !self.is_paused() {
                let dues = self.take_ready();
                under_way.push(publish(self.tasks.clone(), self.broker.clone(), dues));
            }
            let has_room = self.ready.len() < BATCH_SIZE * MAX_IN_FLIGHT;
            let wake = pin!(sleep_until(self.next_wake()));
            tokio::select! {
                // What ends comes before what begins, so that load holds up nothing.
                biased;
                // From here on nothing comes in; what came in before still goes out.
                () = stop.begun(), if !told.is_closed() => told.close(),
                Some(published) = under_way.next() => self.settle(published),
                () = wake => self.promote_ready(),
                _ = look.tick(), if !stop.has_begun() => match self.look().await {
                    Ok(()) => retry_log.recovered(),
                    Err(error) => retry_log.failed(&error),
                },
                count = told.recv_many(&mut gathered, BATCH_SIZE), if is_told && has_room => {
                    is_told = count > 0;
                    let held = gathered.drain(..).map(|due| {
                        let until = due.at.saturating_add(OVERDUE).unwrap_or(Timestamp::MAX);
                        LeasedDue { due, until }
                    });
                    self.schedule(self.tasks.clock().now(), SCHEDULE_WINDOW, held);
                }
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| until > Instant::now())
    }

    /// Dues to be published together. What has been held for too long is left to those who
    /// find it in the store: after an outage everybody would send it.
    fn take_ready(&mut self) -> Vec<LeasedDue> {
        let now = self.tasks.clock().now();
        let some = self.ready.len().min(BATCH_SIZE);
        self.ready.drain(..some).filter(|held| held.until > now).collect()
    }

    /// Dues of now are ready. Those of `soon` are kept; later ones are found in time.
    fn schedule(
        &mut self,
        now: Timestamp,
        soon: SignedDuration,
        dues: impl Iterator<Item = LeasedDue>,
    ) {
        for held in dues {
            let wait = held.due.at.duration_since(now);
            if wait <= SignedDuration::ZERO {
                if !self.full {
                    self.ready.push(held);
                }
            } else if wait <= soon {
                let wait = Duration::try_from(wait).unwrap_or_default();
                self.near.push(Reverse(Scheduled { at: Instant::now() + wait, held }));
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let near = self.near.peek().map(|Reverse(near)| near.at);
        let paused = self.paused_until.filter(|_| !self.ready.is_empty());
        let far = Instant::now() + Duration::from_hours(1);
        near.into_iter().chain(paused).min().unwrap_or(far)
    }

    /// Moves what has become due to the ready ones.
    fn promote_ready(&mut self) {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        while self.near.peek().is_some_and(|Reverse(near)| near.at <= now) {
            self.ready.extend(self.near.pop().map(|Reverse(near)| near.held));
        }
    }

    /// Notes what was confirmed; what wasn't is published again after a pause.
    fn settle(&mut self, published: Published) {
        let now = Instant::now();
        let mut failed = None;
        for (held, result) in published.dues.into_iter().zip(published.results) {
            match result {
                Ok(()) => self.confirmed.push((now, held.due.id, held.due.version)),
                Err(error) => {
                    // The wait before has been told of.
                    let due = DueTask { since: self.tasks.clock().now(), ..held.due };
                    self.ready.push(LeasedDue { due, ..held });
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed {
            if self.paused_until.is_none() {
                tracing::warn!(%error, "tasks wait in the outbox for the broker");
            }
            self.paused_until = Some(now + RETRY_DELAY);
        }
    }

    /// Looks for delayed and forgotten tasks, and notes those dispatched a while ago.
    async fn look(&mut self) -> Result<(), StoreError> {
        let now = self.tasks.clock().now();
        let old = Instant::now().checked_sub(MARK_DELAY);
        let split = self.confirmed.partition_point(|(at, ..)| old.is_some_and(|old| *at <= old));
        let note: Vec<(Uuid, u64)> =
            self.confirmed[..split].iter().map(|(_, id, version)| (*id, *version)).collect();
        if !note.is_empty() {
            self.tasks.engine().mark_dispatched(&note, now).await?;
            self.confirmed.drain(..split);
        }
        if self.is_paused() || self.ready.len() >= BATCH_SIZE * MAX_IN_FLIGHT {
            return Ok(());
        }
        let room = MAX_QUEUED.saturating_sub(self.broker.depth(Queue::Tasks).await.unwrap_or(0));
        self.full = room == 0;
        if self.full {
            return Ok(());
        }
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let take = TakeDue {
            now,
            lookahead: LOOKAHEAD,
            overdue: OVERDUE,
            visibility_timeout: VISIBILITY_TIMEOUT,
            limit,
        };
        let taken = self.tasks.engine().take_due(&take).await?;
        let until = now.saturating_add(VISIBILITY_TIMEOUT).unwrap_or(Timestamp::MAX);
        self.schedule(now, LOOKAHEAD, taken.into_iter().map(|due| LeasedDue { due, until }));
        Ok(())
    }
}

/// Publishes messages about `dues`, each in its task's trace.
async fn publish(tasks: Tasks, broker: Arc<dyn Broker>, dues: Vec<LeasedDue>) -> Published {
    let mut messages: Vec<Message> = dues
        .iter()
        .map(|LeasedDue { due, .. }| {
            let DueTask { id: task_id, generation, version, .. } = *due;
            let body = TaskReady::V1 { task_id, generation, version };
            Message::new(new_id(tasks.clock()), &body)
                .with_conversation(task_id)
                .with_trace(due.trace.clone())
        })
        .collect();
    let dispatching = Dispatching::begin(tasks.clock(), broker.system(), &mut messages);
    let results = broker.publish(Queue::Tasks, messages).await;
    dispatching.end(dues.iter().map(|held| &held.due), &results);
    Published { dues, results }
}

/// A due that waits in memory for its time.
struct Scheduled {
    at: Instant,
    held: LeasedDue,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
