//! The sending side of the outbox: publishes a message for each due task.
//!
//! The outbox entry of a task is a column of its row, written in the same transaction. A
//! task that is due immediately is handed to the relay of the process that committed it,
//! which publishes it without a query. Everything else is found by polling the store:
//! delayed tasks shortly before their time, and tasks that stayed due because a process died
//! or the broker was unavailable. Only the broker's confirmation clears the entry. Duplicate
//! messages are harmless, because a task is claimed once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
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
use miniapp_types::name::QueueName;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

use crate::capabilities::Routes;
use crate::engine::{DueTask, PARKED, StoreError, TakeDue, TakenQueues};
use crate::spans::DispatchSpans;
use crate::tasks::Tasks;

/// Interval of the search for delayed and abandoned tasks.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Committed tasks due within this time are scheduled in memory, because a poll might come
/// too late for them. Later ones are left to polling, or they would be sent twice.
const SCHEDULE_WINDOW: SignedDuration = SignedDuration::from_millis(400);
/// How far ahead of their time delayed tasks are taken, so that they start on time.
const LOOKAHEAD: SignedDuration = SignedDuration::from_secs(1);
/// A task still due this long after it should have been dispatched is taken over: its
/// process died or gave up.
pub(crate) const OVERDUE: SignedDuration = SignedDuration::from_secs(2);
/// How long taken tasks are invisible to other processes.
const VISIBILITY_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);
/// Delay between the confirmation and marking a task as dispatched. Most tasks are claimed
/// earlier, which clears the outbox entry without another write.
const MARK_DELAY: Duration = Duration::from_millis(500);
/// Maximum number of messages per publish.
const BATCH_SIZE: usize = 256;
/// Maximum number of concurrent publishes.
const MAX_IN_FLIGHT: usize = 8;
/// Maximum number of messages in a queue. More would only use the broker's memory: the
/// rest stays due in the store.
const MAX_QUEUED: u64 = 8 * 1024;
/// How often the relay finds out what the live workers can run.
const ROUTE_INTERVAL: Duration = Duration::from_secs(1);
/// The number of parked tasks that become due at once.
const UNPARKED: u32 = 5000;
/// Delay after the broker failed.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Returns the latest `due_at` of a task that is ready at `now`, including tasks that a
/// process has taken.
pub(crate) fn visibility_deadline(now: Timestamp) -> Timestamp {
    now.saturating_add(LOOKAHEAD + VISIBILITY_TIMEOUT).unwrap_or(Timestamp::MAX)
}

/// A due task that this process dispatches.
struct LeasedDue {
    due: DueTask,
    /// The queue of its message, once it is ready.
    route: Queue,
    /// From this time on another process may take it over.
    until: Timestamp,
}

impl LeasedDue {
    fn new(due: DueTask, until: Timestamp) -> Self {
        Self { due, route: Queue::Tasks, until }
    }
}

/// The result of a publish.
struct Published {
    tasks: Vec<LeasedDue>,
    results: Vec<Result<(), BrokerError>>,
}

/// The relay of a process.
pub(crate) struct Relay {
    tasks: Tasks,
    broker: Arc<dyn Broker>,
    /// To be published now.
    ready: Vec<LeasedDue>,
    /// To be published soon.
    scheduled: BinaryHeap<Reverse<Scheduled>>,
    /// Confirmed tasks (id and version) that are not marked as dispatched yet.
    confirmed: Vec<(Instant, Uuid, u64)>,
    /// Set after the broker failed.
    paused_until: Option<Instant>,
    routes: Routes,
    /// When the routes were read.
    routed_at: Option<Instant>,
    /// Tasks that no live worker can run, as far as is known.
    unroutable: Vec<LeasedDue>,
    /// The queues to which messages were published since the last poll.
    used: BTreeMap<Queue, QueueName>,
    /// The queues with [`MAX_QUEUED`] messages.
    full: BTreeMap<Queue, QueueName>,
}

impl Relay {
    pub fn new(tasks: Tasks, broker: Arc<dyn Broker>) -> Self {
        Self {
            tasks,
            broker,
            ready: Vec::new(),
            scheduled: BinaryHeap::new(),
            confirmed: Vec::new(),
            paused_until: None,
            routes: Routes::default(),
            routed_at: None,
            unroutable: Vec::new(),
            used: BTreeMap::new(),
            full: BTreeMap::new(),
        }
    }

    /// Publishes until `stop`, then drains what is ready.
    pub async fn run(mut self, mut committed: mpsc::Receiver<DueTask>, stop: &Shutdown) {
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_flight = FuturesUnordered::new();
        let mut received = Vec::with_capacity(BATCH_SIZE);
        let mut is_open = true;
        let mut retry_log = RetryLogger::new("polling for due tasks");
        while is_open || !self.ready.is_empty() || !in_flight.is_empty() {
            while in_flight.len() < MAX_IN_FLIGHT && !self.ready.is_empty() && !self.is_paused() {
                let (route, batch) = self.next_batch();
                in_flight.push(publish(self.tasks.clone(), self.broker.clone(), route, batch));
            }
            let has_room = self.ready.len() < BATCH_SIZE * MAX_IN_FLIGHT;
            let wake = pin!(sleep_until(self.next_wake()));
            tokio::select! {
                // Completions come before new work, so that they are handled under load.
                biased;
                // Closing rejects new tasks; queued ones are still published.
                () = stop.begun(), if !committed.is_closed() => committed.close(),
                Some(published) = in_flight.next() => self.handle_results(published),
                () = wake => self.promote_ready(),
                _ = poll.tick(), if !stop.has_begun() => match self.poll_store().await {
                    Ok(()) => retry_log.recovered(),
                    Err(error) => retry_log.failed(&error),
                },
                count = committed.recv_many(&mut received, BATCH_SIZE), if is_open && has_room => {
                    is_open = count > 0;
                    let leased = received.drain(..).map(|due| {
                        let until = due.at.saturating_add(OVERDUE).unwrap_or(Timestamp::MAX);
                        LeasedDue::new(due, until)
                    });
                    self.schedule(self.tasks.clock().now(), SCHEDULE_WINDOW, leased);
                }
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| until > Instant::now())
    }

    /// Takes the next batch of ready tasks for one queue. Expired ones are dropped: another
    /// process finds them in the store, and after an outage every process would send them.
    fn next_batch(&mut self) -> (Queue, Vec<LeasedDue>) {
        let now = self.tasks.clock().now();
        let first = self.ready.first().map(|leased| (leased.route, leased.due.queue));
        let (route, queue) = first.unwrap_or((Queue::Tasks, QueueName::default()));
        let count = self.ready.len().min(BATCH_SIZE);
        let (mut batch, others): (Vec<_>, Vec<_>) =
            self.ready.drain(..count).partition(|leased| leased.route == route);
        self.ready.splice(..0, others);
        batch.retain(|leased| leased.until > now);
        self.used.insert(route, queue);
        (route, batch)
    }

    /// Sorts tasks into ready and scheduled. Tasks beyond `window` are left to polling.
    fn schedule(
        &mut self,
        now: Timestamp,
        window: SignedDuration,
        tasks: impl Iterator<Item = LeasedDue>,
    ) {
        for task in tasks {
            let wait = task.due.at.duration_since(now);
            if wait <= SignedDuration::ZERO {
                self.make_ready(task);
            } else if wait <= window {
                let wait = Duration::try_from(wait).unwrap_or_default();
                self.scheduled.push(Reverse(Scheduled { at: Instant::now() + wait, task }));
            }
        }
    }

    /// Adds a task whose time has come to the ones to publish. Those of full queues stay due in the
    /// store.
    fn make_ready(&mut self, mut task: LeasedDue) {
        match self.routes.get(&task.due.queue, &task.due.kind) {
            Some(route) if self.full.contains_key(&route) => {}
            Some(route) => {
                task.route = route;
                self.ready.push(task);
            }
            None => self.unroutable.push(task),
        }
    }

    /// Finds out what the live workers can run. Tasks that none can run are parked in the store,
    /// and those return that a new worker runs.
    async fn update_routes(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let is_old = self.routed_at.is_none_or(|at| at.elapsed() >= ROUTE_INTERVAL);
        if !is_old && self.unroutable.is_empty() {
            return Ok(());
        }
        self.routes.set(self.tasks.capabilities().await?);
        self.routed_at = Some(Instant::now());
        for task in std::mem::take(&mut self.unroutable) {
            self.make_ready(task);
        }
        if !self.unroutable.is_empty() {
            let unroutable = self.unroutable.iter();
            let parked: Vec<_> = unroutable.map(|task| (task.due.id, task.due.version)).collect();
            self.tasks.engine().defer(&parked, PARKED).await?;
            self.unroutable.clear();
        }
        if is_old {
            for able in self.routes.capabilities().workers() {
                let kinds: Vec<String> = able.kinds.iter().cloned().collect();
                let engine = self.tasks.engine();
                engine.unpark(&able.queues, &kinds, now, UNPARKED).await?;
            }
        }
        Ok(())
    }

    fn next_wake(&self) -> Instant {
        let scheduled = self.scheduled.peek().map(|Reverse(scheduled)| scheduled.at);
        let paused = self.paused_until.filter(|_| !self.ready.is_empty());
        let never = Instant::now() + Duration::from_hours(1);
        scheduled.into_iter().chain(paused).min().unwrap_or(never)
    }

    /// Moves scheduled tasks whose time has come to the ready ones.
    fn promote_ready(&mut self) {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        while self.scheduled.peek().is_some_and(|Reverse(scheduled)| scheduled.at <= now) {
            if let Some(Reverse(scheduled)) = self.scheduled.pop() {
                self.make_ready(scheduled.task);
            }
        }
    }

    /// Records confirmed tasks; the others are published again after a delay.
    fn handle_results(&mut self, published: Published) {
        let now = Instant::now();
        let mut failure = None;
        for (task, result) in published.tasks.into_iter().zip(published.results) {
            match result {
                Ok(()) => self.confirmed.push((now, task.due.id, task.due.version)),
                Err(error) => {
                    // The wait until now has its span already.
                    let due = DueTask { since: self.tasks.clock().now(), ..task.due };
                    self.ready.push(LeasedDue { due, ..task });
                    failure = Some(error);
                }
            }
        }
        if let Some(error) = failure {
            if self.paused_until.is_none() {
                tracing::warn!(%error, "publishing due tasks failed; they stay in the outbox");
            }
            self.paused_until = Some(now + RETRY_DELAY);
        }
    }

    /// Marks confirmed tasks as dispatched, and takes delayed and abandoned tasks.
    async fn poll_store(&mut self) -> Result<(), StoreError> {
        let now = self.tasks.clock().now();
        let threshold = Instant::now().checked_sub(MARK_DELAY);
        let is_due = |at: &Instant| threshold.is_some_and(|threshold| *at <= threshold);
        let split = self.confirmed.partition_point(|(at, ..)| is_due(at));
        let mark: Vec<(Uuid, u64)> =
            self.confirmed[..split].iter().map(|(_, id, version)| (*id, *version)).collect();
        if !mark.is_empty() {
            self.tasks.engine().mark_dispatched(&mark, now).await?;
            self.confirmed.drain(..split);
        }
        self.update_routes(now).await?;
        if self.is_paused() || self.ready.len() >= BATCH_SIZE * MAX_IN_FLIGHT {
            return Ok(());
        }
        let room = self.find_room().await;
        if room > 0 {
            self.take_due(now, TakenQueues::Default, room).await?;
        }
        let full: BTreeSet<QueueName> = self.full.values().copied().collect();
        let others = TakenQueues::OthersExcept(full.into_iter().collect());
        self.take_due(now, others, MAX_QUEUED).await
    }

    async fn take_due(
        &mut self,
        now: Timestamp,
        queues: TakenQueues,
        limit: u64,
    ) -> Result<(), StoreError> {
        let take = TakeDue {
            queues,
            now,
            lookahead: LOOKAHEAD,
            overdue: OVERDUE,
            visibility_timeout: VISIBILITY_TIMEOUT,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let taken = self.tasks.engine().take_due(&take).await?;
        let until = now.saturating_add(VISIBILITY_TIMEOUT).unwrap_or(Timestamp::MAX);
        self.schedule(now, LOOKAHEAD, taken.into_iter().map(|due| LeasedDue::new(due, until)));
        Ok(())
    }

    /// Finds out which queues are full. Returns the room in the default one.
    async fn find_room(&mut self) -> u64 {
        let mut queues = std::mem::take(&mut self.used);
        queues.append(&mut self.full);
        queues.insert(Queue::Tasks, QueueName::default());
        let mut room = 0;
        for (queue, name) in queues {
            let depth = self.broker.depth(queue).await.unwrap_or(0);
            if depth >= MAX_QUEUED {
                self.full.insert(queue, name);
            }
            if queue == Queue::Tasks {
                room = MAX_QUEUED.saturating_sub(depth);
            }
        }
        room
    }
}

/// Publishes a message per task, each with its task's trace context.
async fn publish(
    tasks: Tasks,
    broker: Arc<dyn Broker>,
    route: Queue,
    batch: Vec<LeasedDue>,
) -> Published {
    let mut messages: Vec<Message> = batch
        .iter()
        .map(|LeasedDue { due, .. }| {
            let DueTask { id: task_id, generation, version, .. } = *due;
            let queue = Some(due.queue).filter(|queue| !queue.is_default());
            let body = TaskReady::V1 { task_id, generation, version, queue };
            Message::new(new_id(tasks.clock()), &body)
                .with_conversation(task_id)
                .with_trace(due.trace.clone())
        })
        .collect();
    let spans = DispatchSpans::start(tasks.clock(), broker.system(), route, &mut messages);
    let results = broker.publish(route, messages).await;
    spans.end(batch.iter().map(|task| &task.due), &results);
    Published { tasks: batch, results }
}

/// A task that waits in memory; ordered by time.
struct Scheduled {
    at: Instant,
    task: LeasedDue,
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
