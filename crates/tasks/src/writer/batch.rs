//! The transaction under construction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;
use miniapp_runtime::clock::id_at;
use miniapp_types::task::{Event, EventType};
use uuid::Uuid;

use super::request::{Applied, Response};
use crate::domain::Task;
use crate::engine::{Change, IdempotencyKey, Insert};

/// Collects the writes of several requests. Requests are identified by their index.
pub(super) struct Batch {
    now: Timestamp,
    pub inserts: Vec<Insert>,
    /// The request of each insert.
    pub insert_requests: Vec<usize>,
    /// Index of the insert with an owner's idempotency key.
    inserts_by_key: HashMap<(Uuid, String), usize>,
    /// For an insert: other requests with the same key.
    pub duplicates: HashMap<usize, Vec<usize>>,
    /// One change per task, which may combine several requests.
    pub changes: Vec<Change>,
    /// For each change: the responses to its requests once it is stored.
    pub change_responses: Vec<Vec<(usize, Response)>>,
    /// Index of a task's change in `changes`.
    changes_by_task: HashMap<Uuid, usize>,
    /// Responses to requests that need no write.
    pub decided: Vec<(usize, Response)>,
}

impl Batch {
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            inserts: Vec::new(),
            insert_requests: Vec::new(),
            inserts_by_key: HashMap::new(),
            duplicates: HashMap::new(),
            changes: Vec::new(),
            change_responses: Vec::new(),
            changes_by_task: HashMap::new(),
            decided: Vec::new(),
        }
    }

    /// Returns the task as the batch changes it so far.
    pub fn changed(&self, id: &Uuid) -> Option<&Task> {
        self.changes_by_task.get(id).map(|&index| &self.changes[index].task)
    }

    /// Adds a task. A duplicate of a key in this batch gets the response of the first one.
    pub fn submit(&mut self, request: usize, task: &Task, key: Option<&IdempotencyKey>) {
        if let Some(key) = key {
            match self.inserts_by_key.entry((task.owner, key.key.clone())) {
                Entry::Occupied(first) => {
                    self.duplicates.entry(*first.get()).or_default().push(request);
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
        self.insert_requests.push(request);
    }

    /// Adds a change to `task`, made from version `from`.
    pub fn change(
        &mut self,
        request: usize,
        task: Task,
        from: u64,
        kind: EventType,
        at: Timestamp,
    ) {
        let event = event(&task, kind, at);
        let response = Ok(Applied::changed(task.clone()));
        if let Some(&index) = self.changes_by_task.get(&task.id) {
            self.changes[index].task = task;
            self.changes[index].events.push(event);
            self.change_responses[index].push((request, response));
        } else {
            self.changes_by_task.insert(task.id, self.changes.len());
            self.changes.push(Change { task, from_version: from, events: vec![event] });
            self.change_responses.push(vec![(request, response)]);
        }
    }

    /// Adds a response that needs no write. If it depends on a change of this batch, it is
    /// valid only once that change is stored.
    pub fn respond(&mut self, request: usize, id: &Uuid, response: Response) {
        match self.changes_by_task.get(id) {
            Some(&index) => self.change_responses[index].push((request, response)),
            None => self.decided.push((request, response)),
        }
    }
}

/// Creates an event of `task`. Its id contains the task's `changed_at`, so that either one
/// can be found from the other.
fn event(task: &Task, kind: EventType, at: Timestamp) -> Event {
    task.event(id_at(task.state.changed_at), kind, at)
}
