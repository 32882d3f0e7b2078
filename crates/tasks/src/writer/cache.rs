//! The writer's cache of recently written tasks.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::domain::Task;

/// Maximum number of cached tasks.
const CACHE_CAPACITY: usize = 2 * 1024;
/// Tasks with more input data than this many bytes are not cached.
const MAX_CACHED_DATA: usize = 4 * 1024;

/// Tasks as this process last wrote them, evicted in insertion order. Entries may be stale:
/// the version guard of each write detects that.
#[derive(Default)]
pub(super) struct TaskCache {
    tasks: HashMap<Uuid, Task>,
    order: VecDeque<Uuid>,
}

impl TaskCache {
    pub fn get(&self, id: &Uuid) -> Option<&Task> {
        self.tasks.get(id)
    }

    /// Caches `task`, or removes it if it has ended or is too large.
    pub fn insert(&mut self, task: &Task) {
        let has_ended = task.state.status.is_terminal();
        if has_ended || task.spec.data.get().len() > MAX_CACHED_DATA {
            self.remove(&task.id);
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

    pub fn remove(&mut self, id: &Uuid) {
        self.tasks.remove(id);
    }
}
