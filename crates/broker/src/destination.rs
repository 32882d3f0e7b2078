//! Names of queues and topics in the server and in traces.

use crate::{Queue, Topic};

impl Queue {
    /// Returns the exchange and the routing key.
    pub(crate) fn route(self) -> (&'static str, &'static str) {
        match self {
            Self::Tasks => ("tasks", "run"),
            Self::AccountDeletions => ("accounts", "deleted"),
            Self::DeadLetters => (Self::DeadLetters.name(), ""),
            Self::Parked => (Self::Parked.name(), ""),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::AccountDeletions => "account-deletions",
            Self::DeadLetters => "dead-letters",
            Self::Parked => "parked",
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
    /// Returns the destination name of publish spans: `exchange:key` without empty parts.
    pub(crate) fn published(self) -> &'static str {
        match self {
            Self::Queue(Queue::Tasks) => "tasks:run",
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
            Self::Queue(Queue::Tasks) => "tasks:run:tasks",
            Self::Queue(Queue::AccountDeletions) => "accounts:deleted:account-deletions",
            other => other.published(),
        }
    }

    /// Returns the routing key, unless it is empty.
    pub(crate) fn key(self) -> Option<&'static str> {
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
            let mut parts = vec![exchange];
            parts.extend(Some(key).filter(|key| !key.is_empty()));
            assert_eq!(Destination::from(queue).published(), parts.join(":"));
            parts.extend(Some(queue.name()).filter(|name| parts != [*name]));
            assert_eq!(Destination::from(queue).consumed(), parts.join(":"));
        }
        assert_eq!(Destination::from(Topic::Sessions).published(), "sessions");
    }
}
