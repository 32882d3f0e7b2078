//! What a worker runs.

use std::collections::BTreeSet;

use miniapp_types::name::QueueName;

/// What a worker runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// Empty: all.
    pub queues: Vec<QueueName>,
    pub kinds: BTreeSet<String>,
    /// It consumes the work queues of its kinds, which others of a queue do not run.
    pub has_kind_queues: bool,
}

impl Capability {
    /// Whether it runs tasks of this kind in this queue.
    pub fn includes(&self, queue: &QueueName, kind: &str) -> bool {
        self.takes(queue) && self.kinds.contains(kind)
    }

    /// Whether it takes tasks from this queue.
    pub fn takes(&self, queue: &QueueName) -> bool {
        self.queues.is_empty() || self.queues.contains(queue)
    }
}
