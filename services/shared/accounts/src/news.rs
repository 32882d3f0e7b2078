//! Telling whoever checks tokens what became of sessions.

use std::collections::HashMap;
use std::sync::Arc;

use broker::{Broker, BrokerError, Message, Topic};
use contracts::message::SessionChanged;
use kit::clock::{self, Clock};
use parking_lot::Mutex;
use uuid::Uuid;

/// Broadcasts changes of sessions, after they have committed. What the broker doesn't
/// take is told again until it does.
#[derive(Clone)]
pub(crate) struct News(Arc<Inner>);

struct Inner {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    untold: Mutex<Untold>,
}

/// The newest word about each session.
type Untold = HashMap<Uuid, Option<u32>>;

impl News {
    pub(crate) fn new(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { broker, clock, untold: Mutex::default() }))
    }

    /// The session is at `epoch`, or has ended.
    pub(crate) async fn announce(
        &self,
        session_id: Uuid,
        epoch: Option<u32>,
    ) -> Result<(), BrokerError> {
        let at = self.0.clock.now();
        let change = SessionChanged::V1 { session_id, epoch, at };
        let message = Message::new(clock::id_at(at), &change)
            .about(session_id)
            .in_trace(kit::trace::current_context());
        self.0.broker.broadcast(Topic::Sessions, message).await
    }

    /// The session is at `epoch`; goes on without the broker.
    pub(crate) async fn changed(&self, session: Uuid, epoch: u32) {
        self.try_announce(session, Some(epoch)).await;
    }

    /// The sessions have ended; goes on without the broker.
    pub(crate) async fn ended(&self, sessions: impl IntoIterator<Item = Uuid>) {
        for session in sessions {
            self.try_announce(session, None).await;
        }
    }

    /// Tells what the broker didn't take before.
    pub(crate) async fn tell_again(&self) {
        let untold = std::mem::take(&mut *self.0.untold.lock());
        for (session, epoch) in untold {
            self.try_announce(session, epoch).await;
        }
    }

    async fn try_announce(&self, session: Uuid, epoch: Option<u32>) {
        if let Err(error) = self.announce(session, epoch).await {
            tracing::debug!(%error, session.id = %session, "can't tell of a session yet");
            keep(&mut self.0.untold.lock(), session, epoch);
        }
    }
}

/// An end is final, and an epoch only grows.
fn keep(untold: &mut Untold, session: Uuid, epoch: Option<u32>) {
    let kept = untold.entry(session).or_insert(epoch);
    *kept = kept.zip(epoch).map(|(kept, epoch)| kept.max(epoch));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_word_is_kept() {
        let words =
            [(vec![Some(1), Some(3), Some(2)], Some(3)), (vec![Some(1), None, Some(2)], None)];
        for (told, expected) in words {
            let mut untold = Untold::new();
            for epoch in told {
                keep(&mut untold, Uuid::nil(), epoch);
            }
            assert_eq!(untold[&Uuid::nil()], expected);
        }
    }
}
