//! Which work queues a worker consumes.

use std::collections::BTreeMap;
use std::time::Duration;

use miniapp_broker::Queue;
use miniapp_tasks::{StoreError, Tasks};
use miniapp_types::name::QueueName;
use tokio::time::Instant;

/// How often a worker that takes tasks from all queues looks for new ones.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a queue without waiting tasks is still consumed.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// The maximum number of queues that a worker finds by itself. Each is a channel of the broker.
/// The queues whose tasks have waited for the longest time come first.
const MAX_QUEUES: usize = 256;

/// The queues of a worker.
#[derive(Debug)]
pub(crate) enum Subscriptions {
    /// Those of the configuration.
    Configured(Vec<QueueName>),
    /// The default one and all others with waiting tasks, with the time at which each was last
    /// seen to have some.
    All(BTreeMap<QueueName, Instant>),
}

impl Subscriptions {
    /// `configured` is empty for a worker that takes tasks from all queues.
    pub fn new(configured: &[QueueName]) -> Self {
        if configured.is_empty() {
            Self::All(BTreeMap::new())
        } else {
            Self::Configured(configured.to_vec())
        }
    }

    /// Looks for queues with waiting tasks.
    pub async fn refresh(&mut self, tasks: &Tasks) -> Result<(), StoreError> {
        let Self::All(seen) = self else { return Ok(()) };
        let limit = u32::try_from(MAX_QUEUES).unwrap_or(u32::MAX);
        let waiting = tasks.waiting_queues(limit).await?;
        let now = Instant::now();
        seen.extend(waiting.into_iter().map(|queue| (queue, now)));
        seen.retain(|_, at| now.duration_since(*at) < IDLE_TIMEOUT);
        while seen.len() > MAX_QUEUES
            && let Some((&oldest, _)) = seen.iter().min_by_key(|(_, at)| **at)
        {
            seen.remove(&oldest);
        }
        Ok(())
    }

    /// Returns the work queues to consume.
    pub fn queues(&self) -> Vec<Queue> {
        let names: Vec<QueueName> = match self {
            Self::Configured(names) => names.clone(),
            Self::All(seen) => std::iter::once(QueueName::default()).chain(seen.keys().copied()).collect(),
        };
        names.iter().map(|name| Queue::of_tasks(name, None)).collect()
    }
}
