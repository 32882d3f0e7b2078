//! What the live workers can run, and where the offers of a task go.

use std::collections::{BTreeSet, HashMap};

use miniapp_broker::Queue;
use miniapp_types::name::QueueName;

use crate::domain::Capability;
use crate::engine::WorkerReport;

/// The number of remembered routes.
const MAX_ROUTES: usize = 1024;

/// What the live workers can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Without duplicates: workers of one program can do the same.
    workers: BTreeSet<Capability>,
}

/// Why no live worker can run a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No worker is live.
    Worker,
    /// No worker runs the kind.
    Kind,
    /// No worker that runs the kind takes tasks from the queue.
    Queue,
}

impl Capabilities {
    pub fn new(reports: &[WorkerReport]) -> Self {
        let capability = |report: &WorkerReport| Capability {
            queues: report.worker.queues.clone(),
            kinds: report.worker.kinds.iter().cloned().collect(),
            has_kind_queues: report.has_kind_queues,
        };
        Self { workers: reports.iter().map(capability).collect() }
    }

    pub fn workers(&self) -> impl Iterator<Item = &Capability> {
        self.workers.iter()
    }

    /// Returns the work queue for the offers of a task, or `None` if no live worker can run it.
    ///
    /// It is that of its queue if all workers of the queue run its kind, so that none of them
    /// receives what it does not know. Otherwise the kind has its own. While no worker is live,
    /// tasks of the default queue are offered to those to come.
    pub fn route(&self, queue: &QueueName, kind: &str) -> Option<Queue> {
        if self.workers.is_empty() && queue.is_default() {
            return Some(Queue::Tasks);
        }
        let mut of_queue = self.workers.iter().filter(|worker| worker.takes(queue)).peekable();
        of_queue.peek()?;
        let (able, unable): (Vec<_>, Vec<_>) =
            of_queue.partition(|worker| worker.kinds.contains(kind));
        if able.is_empty() {
            return None;
        }
        let has_own = !unable.is_empty() && able.iter().any(|worker| worker.has_kind_queues);
        Some(Queue::of_tasks(queue, has_own.then_some(kind)))
    }

    /// Returns the work queues of `kinds` that not all workers of `queue` run.
    pub fn kind_queues<'k>(
        &self,
        queue: &QueueName,
        kinds: impl IntoIterator<Item = &'k String>,
    ) -> Vec<Queue> {
        let is_shared = |kind: &&String| {
            let mut of_queue = self.workers.iter().filter(|worker| worker.takes(queue));
            of_queue.all(|worker| worker.kinds.contains(*kind))
        };
        let own = kinds.into_iter().filter(|kind| !is_shared(kind));
        own.map(|kind| Queue::of_tasks(queue, Some(kind))).collect()
    }

    /// Returns why no live worker can run a task, or `None` if one can.
    pub fn missing(&self, queue: &QueueName, kind: &str) -> Option<Missing> {
        let mut able = self.workers.iter().filter(|worker| worker.kinds.contains(kind)).peekable();
        if self.workers.is_empty() {
            Some(Missing::Worker)
        } else if able.peek().is_none() {
            Some(Missing::Kind)
        } else {
            let is_taken = able.any(|worker| worker.takes(queue));
            (!is_taken).then_some(Missing::Queue)
        }
    }
}

/// The routes of tasks, remembered while the workers do not change.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    capabilities: Capabilities,
    known: HashMap<QueueName, HashMap<String, Option<Queue>>>,
    count: usize,
}

impl Routes {
    /// Replaces the capabilities.
    pub fn set(&mut self, capabilities: Capabilities) {
        if self.capabilities != capabilities {
            *self = Self { capabilities, ..Self::default() };
        }
    }

    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// See [`Capabilities::route`].
    pub fn get(&mut self, queue: &QueueName, kind: &str) -> Option<Queue> {
        if let Some(route) = self.known.get(queue).and_then(|kinds| kinds.get(kind)) {
            return *route;
        }
        if self.count >= MAX_ROUTES {
            self.known.clear();
            self.count = 0;
        }
        let route = self.capabilities.route(queue, kind);
        self.known.entry(*queue).or_default().insert(kind.to_owned(), route);
        self.count += 1;
        route
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> QueueName {
        text.parse().expect("a name")
    }

    fn capabilities(workers: &[(&[&str], &[&str], bool)]) -> Capabilities {
        let capability = |(queues, kinds, has_kind_queues): &(&[&str], &[&str], bool)| Capability {
            queues: queues.iter().map(|queue| name(queue)).collect(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            has_kind_queues: *has_kind_queues,
        };
        Capabilities { workers: workers.iter().map(capability).collect() }
    }

    #[test]
    fn kind_of_all_workers_uses_the_queue_of_all() {
        let same = capabilities(&[(&[], &["a", "b"], true), (&["gpu"], &["a"], true)]);
        assert_eq!(same.route(&name("default"), "a"), Some(Queue::Tasks));
        assert_eq!(same.route(&name("default"), "b"), Some(Queue::Tasks));
        assert_eq!(same.route(&name("gpu"), "a"), Some(Queue::of_tasks(&name("gpu"), None)));
        let own = Queue::of_tasks(&name("gpu"), Some("b"));
        assert_eq!(same.route(&name("gpu"), "b"), Some(own), "one of its two workers lacks it");
        let kinds = ["a".to_owned(), "b".to_owned()];
        assert_eq!(same.kind_queues(&name("gpu"), &kinds), [own]);
        assert_eq!(same.kind_queues(&name("default"), &kinds), []);
    }

    #[test]
    fn task_that_nobody_can_run_has_no_queue() {
        let one = capabilities(&[(&["gpu"], &["a"], true)]);
        for (queue, kind, missing) in [
            ("gpu", "a", None),
            ("gpu", "b", Some(Missing::Kind)),
            ("default", "b", Some(Missing::Kind)),
            ("default", "a", Some(Missing::Queue)),
        ] {
            assert_eq!(one.missing(&name(queue), kind), missing, "{queue} {kind}");
            assert_eq!(one.route(&name(queue), kind).is_none(), missing.is_some());
        }
        let nobody = capabilities(&[]);
        assert_eq!(nobody.missing(&name("default"), "a"), Some(Missing::Worker));
        assert_eq!(nobody.route(&name("default"), "a"), Some(Queue::Tasks));
        assert_eq!(nobody.route(&name("gpu"), "a"), None);
    }

    #[test]
    fn workers_of_the_previous_release_consume_no_queues_of_kinds() {
        let mixed = capabilities(&[(&["default"], &["a"], false), (&[], &["b"], true)]);
        assert_eq!(mixed.route(&name("default"), "a"), Some(Queue::Tasks));
        let own = Queue::of_tasks(&name("default"), Some("b"));
        assert_eq!(mixed.route(&name("default"), "b"), Some(own));
    }
}
