//! The one way in which tasks change: requests that arrive together are decided by the
//! state machine and written in one transaction.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use contracts::message::OwnedEvent;
use contracts::task::{Event, EventType, Status};
use jiff::Timestamp;
use kit::clock::{Clock, new_id};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::combiner::Run;
use crate::domain::{Command, Task};
use crate::engine::{Change, Due, Engine, IdempotencyKey, Insert, Inserted, StoreError, Written};
use crate::news::{Committed, NewsSender};
use crate::tasks::Error;

/// How many tasks are remembered between transactions.
const REMEMBERED: usize = 8 * 1024;
/// Tasks with more data than this are loaded again instead, to bound memory.
const REMEMBERED_DATA: usize = 4 * 1024;
/// How often a change is tried again after another process changed the task first.
const ROUNDS: usize = 8;

/// A request for a change.
#[derive(Clone, Debug)]
pub enum Write {
    /// Accept a task, unless its key is known.
    Submit(Box<Task>, Option<IdempotencyKey>),
    /// Apply a command to a task, of this owner if one is given.
    Apply { id: Uuid, owner: Option<Uuid>, command: Command },
}

/// What a change made of the task.
#[derive(Clone, Debug)]
pub struct Done {
    /// The task as it is now.
    pub task: Task,
    /// Whether this request made it so; `false`: it was so already.
    pub fresh: bool,
}

/// Where commits are announced. Both are hints: the relay finds in the store what it
/// wasn't told, and streams read it from there.
#[derive(Debug)]
pub struct Announce {
    /// To the relay.
    pub dues: mpsc::Sender<Due>,
    /// To streams and workers.
    pub news: NewsSender,
}

/// Runs batches of [`Write`]s.
pub struct Writer {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    announce: Announce,
    recent: Recent,
}

impl Writer {
    pub fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, announce: Announce) -> Self {
        Self { engine, clock, announce, recent: Recent::default() }
    }

    /// One transaction over what of `open` can be decided now. Answers what is done, and
    /// keeps in `open` what another process was faster with.
    async fn round(
        &mut self,
        requests: &[Write],
        open: &mut Vec<usize>,
        answers: &mut [Option<Result<Done, Error>>],
    ) -> Result<(), StoreError> {
        let loaded = self.load(requests, open).await?;
        let now = self.clock.now();
        let mut batch = Batch::default();
        let mut again = Vec::new();
        for index in open.drain(..) {
            match &requests[index] {
                Write::Submit(task, key) => {
                    if !batch.submit(index, task, key.as_ref(), self.clock.as_ref()) {
                        again.push(index);
                    }
                }
                Write::Apply { id, owner, command } => {
                    let known = batch
                        .changed
                        .get(id)
                        .or_else(|| loaded.get(id))
                        .or_else(|| self.recent.get(id));
                    let Some(task) = known.filter(|task| owner.is_none_or(|o| o == task.owner))
                    else {
                        answers[index] = Some(Err(Error::NotFound));
                        continue;
                    };
                    match task.apply(command.clone(), now) {
                        Ok(step) => {
                            let from = task.state.version;
                            let task = Task { state: step.state, ..task.clone() };
                            batch.change(index, task, from, step.event, now, self.clock.as_ref());
                        }
                        // What was remembered may be old: a refusal needs a fresh look.
                        Err(_) if !loaded.contains_key(id) && !batch.changed.contains_key(id) => {
                            self.recent.forget(id);
                            again.push(index);
                        }
                        Err(refusal) => answers[index] = Some(Err(refusal.into())),
                    }
                }
            }
        }
        *open = again;
        self.commit(batch, open, answers).await
    }

    /// The tasks that `open` asks for and that aren't remembered.
    async fn load(
        &self,
        requests: &[Write],
        open: &[usize],
    ) -> Result<HashMap<Uuid, Task>, StoreError> {
        let unknown: HashSet<Uuid> = open
            .iter()
            .filter_map(|&index| match &requests[index] {
                Write::Apply { id, .. } => Some(*id),
                Write::Submit(..) => None,
            })
            .filter(|id| self.recent.get(id).is_none())
            .collect();
        if unknown.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<Uuid> = unknown.into_iter().collect();
        let tasks = self.engine.load(&ids).await?;
        Ok(tasks.into_iter().map(|task| (task.id, task)).collect())
    }

    async fn commit(
        &mut self,
        batch: Batch,
        open: &mut Vec<usize>,
        answers: &mut [Option<Result<Done, Error>>],
    ) -> Result<(), StoreError> {
        let Batch { inserts, insert_requests, changes, change_requests, unchanged, .. } = batch;
        let written = if inserts.is_empty() && changes.is_empty() {
            Written::default()
        } else {
            match self.engine.write(&inserts, &changes).await {
                Ok(written) => written,
                Err(error) => {
                    // Whether it was written is unknown, so what was remembered may be old.
                    for change in &changes {
                        self.recent.forget(&change.task.id);
                    }
                    return Err(error);
                }
            }
        };
        let mut committed = Committed::default();
        for ((insert, index), outcome) in
            inserts.into_iter().zip(insert_requests).zip(written.inserts)
        {
            answers[index] = Some(match outcome {
                Inserted::New => {
                    self.tell(&mut committed, &insert.task, vec![insert.event]);
                    self.recent.keep(&insert.task);
                    Ok(Done { task: insert.task, fresh: true })
                }
                Inserted::KeyKnown { task, digest } => {
                    let same = insert.key.is_some_and(|key| key.digest == digest);
                    let done = Done { task: *task, fresh: false };
                    if same { Ok(done) } else { Err(Error::KeyReused) }
                }
            });
        }
        for ((change, indices), stored) in
            changes.into_iter().zip(change_requests).zip(written.changes)
        {
            if !stored {
                self.recent.forget(&change.task.id);
                open.extend(indices.into_iter().map(|(index, _)| index));
                continue;
            }
            for (index, task) in indices {
                answers[index] = Some(Ok(Done { task, fresh: true }));
            }
            self.tell(&mut committed, &change.task, change.events);
            self.recent.keep(&change.task);
        }
        for (index, task) in unchanged {
            answers[index] = Some(Ok(Done { task, fresh: false }));
        }
        self.announce.news.tell(committed);
        Ok(())
    }

    /// Notes what others want to hear of `task` after `events`.
    fn tell(&self, committed: &mut Committed, task: &Task, events: Vec<Event>) {
        if let Some(at) = task.state.ready_at {
            let due = Due {
                id: task.id,
                generation: task.state.generation,
                version: task.state.version,
                at,
                trace: task.spec.trace.clone(),
            };
            // Full: the relay will find it in the store.
            let _ = self.announce.dues.try_send(due);
        }
        let stops = |event: &Event| {
            matches!(event.kind, EventType::CancelRequested | EventType::Deleted)
                && task.state.worker.is_some()
        };
        if events.iter().any(stops) {
            committed.cancels.push(task.id);
        }
        let user_id = task.owner;
        committed.events.extend(events.into_iter().map(|event| OwnedEvent { user_id, event }));
    }
}

impl Run<Write, Result<Done, Error>> for Writer {
    async fn run(&mut self, requests: Vec<Write>) -> Vec<Result<Done, Error>> {
        let mut answers: Vec<Option<Result<Done, Error>>> = vec![None; requests.len()];
        let mut open: Vec<usize> = (0..requests.len()).collect();
        let mut failed = Error::Store(StoreError::Unavailable("too much contention".into()));
        for _ in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            if let Err(error) = self.round(&requests, &mut open, &mut answers).await {
                failed = error.into();
                break;
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(failed.clone()))).collect()
    }
}

/// A transaction in the making.
#[derive(Default)]
struct Batch {
    inserts: Vec<Insert>,
    insert_requests: Vec<usize>,
    keys: HashSet<(Uuid, String)>,
    /// One change a task, however many requests it combines.
    changes: Vec<Change>,
    /// The requests of each change, with the task as each made it.
    change_requests: Vec<Vec<(usize, Task)>>,
    /// Where a task's change is in `changes`.
    places: HashMap<Uuid, usize>,
    /// The tasks as they will be.
    changed: HashMap<Uuid, Task>,
    /// Requests that changed nothing.
    unchanged: Vec<(usize, Task)>,
}

impl Batch {
    /// Adds a task; `false` if its key is in the batch already, so that it has to wait
    /// for the outcome of the other.
    fn submit(
        &mut self,
        index: usize,
        task: &Task,
        key: Option<&IdempotencyKey>,
        clock: &dyn Clock,
    ) -> bool {
        if let Some(key) = key
            && !self.keys.insert((task.owner, key.key.clone()))
        {
            return false;
        }
        let event = event(task, EventType::Created, task.spec.created_at, clock);
        self.inserts.push(Insert { task: task.clone(), event, key: key.cloned() });
        self.insert_requests.push(index);
        true
    }

    fn change(
        &mut self,
        index: usize,
        task: Task,
        from_version: u64,
        kind: Option<EventType>,
        now: Timestamp,
        clock: &dyn Clock,
    ) {
        let Some(kind) = kind else {
            match self.places.get(&task.id) {
                Some(&place) => self.change_requests[place].push((index, task)),
                None => self.unchanged.push((index, task)),
            }
            return;
        };
        let event = event(&task, kind, now, clock);
        let place = *self.places.entry(task.id).or_insert_with(|| {
            self.changes.push(Change { task: task.clone(), from_version, events: Vec::new() });
            self.change_requests.push(Vec::new());
            self.changes.len() - 1
        });
        self.changes[place].task = task.clone();
        self.changes[place].events.push(event);
        self.change_requests[place].push((index, task.clone()));
        self.changed.insert(task.id, task);
    }
}

fn event(task: &Task, kind: EventType, at: Timestamp, clock: &dyn Clock) -> Event {
    Event {
        id: new_id(clock),
        task_id: task.id,
        at,
        kind,
        status: task.state.status,
        message: task.state.message.clone(),
        progress: task.state.progress,
        attempt: task.state.attempt,
        worker: task.state.worker.as_deref().map(str::to_owned),
    }
}

/// Tasks as this process saw them last, the oldest forgotten first. What it remembers may
/// be old; the version guard of each write finds that out.
#[derive(Default)]
struct Recent {
    tasks: HashMap<Uuid, Task>,
    order: VecDeque<Uuid>,
}

impl Recent {
    fn get(&self, id: &Uuid) -> Option<&Task> {
        self.tasks.get(id)
    }

    fn keep(&mut self, task: &Task) {
        let ended = task.state.deleted
            || matches!(task.state.status, Status::Finished | Status::Canceled | Status::Failed);
        if ended || task.spec.data.get().len() > REMEMBERED_DATA {
            self.forget(&task.id);
            return;
        }
        if self.tasks.insert(task.id, task.clone()).is_none() {
            self.order.push_back(task.id);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.tasks.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, id: &Uuid) {
        self.tasks.remove(id);
    }
}
