//! Where messages go, by the names that the servers and those who look at traces know.

use crate::{Queue, Topic};

impl Queue {
    /// The exchange that takes messages for it, and the key that they go by from there.
    pub(crate) fn route(self) -> (&'static str, &'static str) {
        match self {
            Self::Tasks => ("tasks", "run"),
            Self::AccountDeletions => ("accounts", "deleted"),
            Self::DeadLetters => (Self::DeadLetters.name(), ""),
            Self::Parked => (Self::Parked.name(), ""),
        }
    }

    /// Its own name.
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
    /// The exchange that hands messages to everyone who listens.
    pub(crate) fn exchange(self) -> &'static str {
        match self {
            Self::TaskCancels => "task-cancels",
            Self::TaskEvents => "task-events",
            Self::Sessions => "sessions",
        }
    }
}

/// Where a message goes, or comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One of many takers.
    Queue(Queue),
    /// Everyone who listens.
    Topic(Topic),
}

impl Destination {
    /// `exchange:key` for those who publish, of which what is empty is left out.
    pub(crate) fn published(self) -> &'static str {
        match self {
            Self::Queue(Queue::Tasks) => "tasks:run",
            Self::Queue(Queue::AccountDeletions) => "accounts:deleted",
            Self::Queue(Queue::DeadLetters) => "dead-letters",
            Self::Queue(Queue::Parked) => "parked",
            Self::Topic(topic) => topic.exchange(),
        }
    }

    /// `exchange:key:queue` for those who consume, where what says the same is left out.
    /// Queues of topics are known to their connections only.
    pub(crate) fn consumed(self) -> &'static str {
        match self {
            Self::Queue(Queue::Tasks) => "tasks:run:tasks",
            Self::Queue(Queue::AccountDeletions) => "accounts:deleted:account-deletions",
            other => other.published(),
        }
    }

    /// The key that messages go by.
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
    fn destinations_are_named_by_what_is_in_the_server() {
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
