//! A transaction in the making.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;
use miniapp_runtime::clock::id_at;
use miniapp_types::task::{Event, EventType};
use uuid::Uuid;

use super::Applied;
use crate::domain::Task;
use crate::engine::{Change, IdempotencyKey, Insert};
use crate::tasks::Error;

/// What a request gets.
pub(super) type Answer = Result<Applied, Error>;

/// Gathers what requests want to have written at one time.
pub(super) struct Batch {
    now: Timestamp,
    pub inserts: Vec<Insert>,
    /// The request of each insert.
    pub insert_requests: Vec<usize>,
    /// Where the insert with a key is.
    keys: HashMap<(Uuid, String), usize>,
    /// By the place of an insert: other requests with its key, and their digests.
    pub copies: HashMap<usize, Vec<(usize, [u8; 32])>>,
    /// One change a task, however many requests it combines.
    pub changes: Vec<Change>,
    /// What the requests of each change get once it is stored.
    pub change_requests: Vec<Vec<(usize, Answer)>>,
    /// Where a task's change is in `changes`.
    places: HashMap<Uuid, usize>,
    /// What requests get that want nothing written.
    pub decided: Vec<(usize, Answer)>,
}

impl Batch {
    /// Nothing yet, to be written as of `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            inserts: Vec::new(),
            insert_requests: Vec::new(),
            keys: HashMap::new(),
            copies: HashMap::new(),
            changes: Vec::new(),
            change_requests: Vec::new(),
            places: HashMap::new(),
            decided: Vec::new(),
        }
    }

    /// The task as it will be, if the batch changes it.
    pub fn changed(&self, id: &Uuid) -> Option<&Task> {
        self.places.get(id).map(|&place| &self.changes[place].task)
    }

    /// Adds a task. One whose key is in the batch already gets the answer of the other.
    pub fn submit(&mut self, index: usize, task: &Task, key: Option<&IdempotencyKey>) {
        if let Some(key) = key {
            match self.keys.entry((task.owner, key.key.clone())) {
                Entry::Occupied(first) => {
                    self.copies.entry(*first.get()).or_default().push((index, key.digest));
                    return;
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(self.inserts.len());
                }
            }
        }
        let mut task = task.clone();
        task.state.changed_at = self.now.max(task.spec.created_at);
        let event = event(&task, EventType::Created, task.spec.created_at);
        self.inserts.push(Insert { task, event, key: key.cloned() });
        self.insert_requests.push(index);
    }

    /// Adds a change that made `task` from the version `from`.
    pub fn change(&mut self, index: usize, task: Task, from: u64, kind: EventType, at: Timestamp) {
        let event = event(&task, kind, at);
        let done = Ok(Applied { task: task.clone(), is_new: true });
        if let Some(&place) = self.places.get(&task.id) {
            self.changes[place].task = task;
            self.changes[place].events.push(event);
            self.change_requests[place].push((index, done));
        } else {
            self.places.insert(task.id, self.changes.len());
            self.changes.push(Change { task, from_version: from, events: vec![event] });
            self.change_requests.push(vec![(index, done)]);
        }
    }

    /// Adds what is to be answered about a task without a change. Where that builds on a
    /// change of the batch, it holds only once the change is stored.
    pub fn answer(&mut self, index: usize, id: &Uuid, answer: Answer) {
        match self.places.get(id) {
            Some(&place) => self.change_requests[place].push((index, answer)),
            None => self.decided.push((index, answer)),
        }
    }
}

/// An event of `task`. Its id carries the time of the change, as the task does, so that
/// whoever knows the one finds the other.
fn event(task: &Task, kind: EventType, at: Timestamp) -> Event {
    task.event(id_at(task.state.changed_at), kind, at)
}
