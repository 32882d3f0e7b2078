//! Names of queues and topics in the server and in traces.

use std::borrow::Cow;

use arrayvec::ArrayString;
use miniapp_types::name::{MAX_NAME, QueueName, check_name};

use crate::{Queue, Topic};

/// A work queue that is created on first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkQueue {
    /// What its name has after that of [`Queue::Tasks`]: `.queue`, `:kind` or both.
    suffix: ArrayString<{ 2 * (MAX_NAME + 1) }>,
}

impl WorkQueue {
    pub(crate) fn suffix(&self) -> &str {
        &self.suffix
    }
}

impl Queue {
    /// Returns the work queue of the tasks of a queue, or of those of one kind in it. A kind whose
    /// name is invalid has none of its own.
    pub fn of_tasks(queue: &QueueName, kind: Option<&str>) -> Self {
        let mut suffix = ArrayString::new();
        // Names are short enough.
        if !queue.is_default() {
            suffix.push('.');
            suffix.push_str(queue.as_str());
        }
        if let Some(kind) = kind.filter(|kind| check_name(kind).is_ok()) {
            suffix.push(':');
            suffix.push_str(kind);
        }
        if suffix.is_empty() { Self::Tasks } else { Self::Work(WorkQueue { suffix }) }
    }

    /// Returns the exchange and the routing key.
    pub(crate) fn route(&self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::Tasks => ("tasks", "run".into()),
            Self::Work(work) => ("tasks", format!("run{}", work.suffix()).into()),
            Self::AccountDeletions => ("accounts", "deleted".into()),
            Self::DeadLetters => ("dead-letters", "".into()),
            Self::Parked => ("parked", "".into()),
        }
    }

    /// Returns the name in the server.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Tasks => "tasks".into(),
            Self::Work(work) => format!("tasks{}", work.suffix()).into(),
            Self::AccountDeletions => "account-deletions".into(),
            Self::DeadLetters => "dead-letters".into(),
            Self::Parked => "parked".into(),
        }
    }
}

impl Topic {
    pub(crate) fn exchange(self) -> &'static str {
        match self {
            Self::TaskCancels => "task-cancels",
            Self::TaskEvents => "task-events",
            Self::Sessions => "sessions",
        }
    }
}

/// Where a message is sent to or received from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Queue(Queue),
    Topic(Topic),
}

impl Destination {
    /// Returns the destination name of publish spans: `exchange:key` without empty parts. All
    /// work queues have the same, because their number is not bounded; the routing key tells them
    /// apart.
    pub(crate) fn published(self) -> &'static str {
        match self {
            Self::Queue(Queue::Tasks | Queue::Work(_)) => "tasks:run",
            Self::Queue(Queue::AccountDeletions) => "accounts:deleted",
            Self::Queue(Queue::DeadLetters) => "dead-letters",
            Self::Queue(Queue::Parked) => "parked",
            Self::Topic(topic) => topic.exchange(),
        }
    }

    /// Returns the destination name of consumer spans: `exchange:key:queue` without repeated
    /// parts. The generated queue names of topic subscriptions are left out.
    pub(crate) fn consumed(self) -> &'static str {
        match self {
            Self::Queue(Queue::Tasks | Queue::Work(_)) => "tasks:run:tasks",
            Self::Queue(Queue::AccountDeletions) => "accounts:deleted:account-deletions",
            other => other.published(),
        }
    }

    /// Returns the routing key, unless it is empty.
    pub(crate) fn key(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Queue(queue) => Some(queue.route().1).filter(|key| !key.is_empty()),
            Self::Topic(_) => None,
        }
    }
}

impl From<Queue> for Destination {
    fn from(queue: Queue) -> Self {
        Self::Queue(queue)
    }
}

impl From<Topic> for Destination {
    fn from(topic: Topic) -> Self {
        Self::Topic(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_names_match_the_routes() {
        for queue in [Queue::Tasks, Queue::AccountDeletions, Queue::DeadLetters, Queue::Parked] {
            let (exchange, key) = queue.route();
            let mut parts = vec![exchange.to_owned()];
            parts.extend(Some(key.into_owned()).filter(|key| !key.is_empty()));
            assert_eq!(Destination::from(queue).published(), parts.join(":"));
            parts.extend(Some(queue.name().into_owned()).filter(|name| parts != [name.as_str()]));
            assert_eq!(Destination::from(queue).consumed(), parts.join(":"));
        }
        assert_eq!(Destination::from(Topic::Sessions).published(), "sessions");
    }

    #[test]
    fn work_queues_are_named_by_queue_and_kind() {
        let longest = "q".repeat(MAX_NAME);
        for (queue, kind, name, key) in [
            ("default", None, "tasks".to_owned(), "run".to_owned()),
            ("default", Some("echo"), "tasks:echo".to_owned(), "run:echo".to_owned()),
            ("gpu", None, "tasks.gpu".to_owned(), "run.gpu".to_owned()),
            ("gpu", Some("a.b"), "tasks.gpu:a.b".to_owned(), "run.gpu:a.b".to_owned()),
            ("gpu", Some("No name"), "tasks.gpu".to_owned(), "run.gpu".to_owned()),
            (
                longest.as_str(),
                Some(longest.as_str()),
                format!("tasks.{longest}:{longest}"),
                format!("run.{longest}:{longest}"),
            ),
        ] {
            let queue = Queue::of_tasks(&queue.parse().expect("a name"), kind);
            assert_eq!(queue.name(), name);
            assert_eq!(queue.route(), ("tasks", key.into()));
        }
        assert_eq!(Queue::of_tasks(&QueueName::default(), None), Queue::Tasks);
    }
}
