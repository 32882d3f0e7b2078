//! What a waiting claim call can take.

use std::collections::HashSet;
use std::sync::Arc;

use miniapp_types::name::QueueName;

/// What a claim call asks for.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// The name of the worker.
    pub worker: Arc<str>,
    pub kinds: Arc<HashSet<String>>,
    /// The queues from which it takes tasks; empty: all.
    pub queues: Vec<QueueName>,
    pub max: usize,
    /// It waits only until its queues have been read once.
    pub is_brief: bool,
}

impl Demand {
    /// Whether it takes tasks from this queue.
    pub fn takes(&self, queue: &QueueName) -> bool {
        self.queues.is_empty() || self.queues.contains(queue)
    }
}
