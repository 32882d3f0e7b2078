//! Which work queues are consumed for claim calls.

use std::collections::BTreeMap;
use std::time::Duration;

use miniapp_broker::Queue;
use miniapp_tasks::{StoreError, Tasks};
use miniapp_types::name::QueueName;
use tokio::time::Instant;

use super::demand::Demand;

/// How long a source is kept after a call last needed it.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// The maximum number of sources. Each is a channel of the broker while calls wait for it.
const MAX_SOURCES: usize = 256;

/// A work queue: that of a queue of tasks, or of one kind in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub name: QueueName,
    pub kind: Option<String>,
}

impl Source {
    pub fn queue(&self) -> Queue {
        Queue::of_tasks(&self.name, self.kind.as_deref())
    }

    /// Whether it may have tasks for a call.
    pub fn serves(&self, demand: &Demand) -> bool {
        demand.takes(&self.name)
            && self.kind.as_ref().is_none_or(|kind| demand.kinds.contains(kind))
    }
}

/// The sources of all calls, with the time at which each was last needed.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<Source, Instant>);

impl Sources {
    /// Looks for what waiting calls need.
    pub async fn refresh(&mut self, demands: &[Demand], tasks: &Tasks) -> Result<(), StoreError> {
        let mut names: Vec<QueueName> =
            demands.iter().flat_map(|demand| demand.queues.iter().copied()).collect();
        if demands.iter().any(|demand| demand.queues.is_empty()) {
            names.push(QueueName::default());
            names.extend(tasks.waiting_queues(u32::try_from(MAX_SOURCES).unwrap_or(0)).await?);
        }
        names.sort_unstable();
        names.dedup();
        let capabilities = tasks.capabilities().await?;
        let now = Instant::now();
        for name in names {
            self.add(Source { name, kind: None }, now);
            for demand in demands.iter().filter(|demand| demand.takes(&name)) {
                for kind in demand.kinds.iter() {
                    if !capabilities.kind_queues(&name, [kind]).is_empty() {
                        self.add(Source { name, kind: Some(kind.clone()) }, now);
                    }
                }
            }
        }
        self.0.retain(|_, at| now.duration_since(*at) < IDLE_TIMEOUT);
        Ok(())
    }

    fn add(&mut self, source: Source, now: Instant) {
        if self.0.len() < MAX_SOURCES || self.0.contains_key(&source) {
            self.0.insert(source, now);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.keys()
    }
}
