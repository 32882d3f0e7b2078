//! Which work queues a worker consumes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::Queue;
use miniapp_tasks::domain::Capability;
use miniapp_tasks::{StoreError, Tasks};
use miniapp_types::name::QueueName;
use tokio::time::Instant;

/// How often a worker looks for new queues.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a queue is consumed after it was last needed.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// The maximum number of queues that a worker finds by itself. Each is a channel of the broker.
/// The queues whose tasks have waited for the longest time come first.
const MAX_QUEUES: usize = 256;

/// The queues of a worker.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    runs: Arc<Capability>,
    /// Queues of tasks, with the time at which each was last seen to have waiting ones. Unless
    /// they are configured, these are all.
    found: BTreeMap<QueueName, Instant>,
    /// The work queues of kinds that other workers of the same queues do not run.
    of_kinds: BTreeMap<Queue, Instant>,
}

impl Subscriptions {
    pub fn new(runs: Arc<Capability>) -> Self {
        Self { runs, found: BTreeMap::new(), of_kinds: BTreeMap::new() }
    }

    /// Looks for queues with waiting tasks, and for what other workers run.
    pub async fn refresh(&mut self, tasks: &Tasks) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.runs.queues.is_empty() {
            let limit = u32::try_from(MAX_QUEUES).unwrap_or(u32::MAX);
            let waiting = tasks.waiting_queues(limit).await?;
            self.found.extend(waiting.into_iter().map(|queue| (queue, now)));
            keep_recent(&mut self.found, now);
        }
        let others = tasks.capabilities().await?;
        for queue in self.names() {
            let of_kinds = others.kind_queues(&queue, &self.runs.kinds);
            self.of_kinds.extend(of_kinds.into_iter().map(|queue| (queue, now)));
        }
        keep_recent(&mut self.of_kinds, now);
        Ok(())
    }

    /// Returns the work queues to consume.
    pub fn queues(&self) -> Vec<Queue> {
        let names = self.names();
        let shared = names.iter().map(|name| Queue::of_tasks(name, None));
        shared.chain(self.of_kinds.keys().copied()).collect()
    }

    fn names(&self) -> Vec<QueueName> {
        if self.runs.queues.is_empty() {
            std::iter::once(QueueName::default()).chain(self.found.keys().copied()).collect()
        } else {
            self.runs.queues.clone()
        }
    }
}

/// Removes what was last seen long ago, and the oldest if there are too many.
fn keep_recent<K: Copy + Ord>(seen: &mut BTreeMap<K, Instant>, now: Instant) {
    seen.retain(|_, at| now.duration_since(*at) < IDLE_TIMEOUT);
    while seen.len() > MAX_QUEUES
        && let Some((&oldest, _)) = seen.iter().min_by_key(|(_, at)| **at)
    {
        seen.remove(&oldest);
    }
}
