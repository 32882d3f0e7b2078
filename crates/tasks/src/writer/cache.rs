//! What the writer remembers between transactions.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::domain::Task;

/// How many tasks are remembered.
const CACHE_CAPACITY: usize = 2 * 1024;
/// Tasks with more data than this are loaded again instead, to bound memory.
const MAX_CACHED_DATA: usize = 4 * 1024;

/// Tasks as this process saw them last, the oldest forgotten first. What it remembers may
/// be old; the version guard of each write finds that out.
#[derive(Default)]
pub(super) struct TaskCache {
    tasks: HashMap<Uuid, Task>,
    order: VecDeque<Uuid>,
}

impl TaskCache {
    pub fn get(&self, id: &Uuid) -> Option<&Task> {
        self.tasks.get(id)
    }

    pub fn keep(&mut self, task: &Task) {
        let has_ended = task.state.status.is_terminal();
        if has_ended || task.spec.data.get().len() > MAX_CACHED_DATA {
            self.forget(&task.id);
            return;
        }
        if self.tasks.insert(task.id, task.clone()).is_none() {
            self.order.push_back(task.id);
        }
        while self.order.len() > CACHE_CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.tasks.remove(&oldest);
            }
        }
    }

    pub fn forget(&mut self, id: &Uuid) {
        self.tasks.remove(id);
    }
}
