//! Telling whoever checks tokens what became of sessions.

use std::sync::Arc;

use broker::{Broker, BrokerError, Message, Topic};
use contracts::message::SessionChanged;
use kit::clock::{self, Clock};
use uuid::Uuid;

/// Broadcasts changes of sessions, after they have committed. A word that gets lost is
/// no harm for long: who hears of gaps in the news asks again.
#[derive(Clone)]
pub(crate) struct News {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
}

impl News {
    pub(crate) fn new(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>) -> Self {
        Self { broker, clock }
    }

    /// The session is at `epoch`, or has ended.
    pub(crate) async fn announce(
        &self,
        session_id: Uuid,
        epoch: Option<u32>,
    ) -> Result<(), BrokerError> {
        let at = self.clock.now();
        let change = SessionChanged::V1 { session_id, epoch, at };
        let message = Message::new(clock::id_at(at), &change)
            .about(session_id)
            .in_trace(kit::trace::current_context());
        self.broker.broadcast(Topic::Sessions, message).await
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

    async fn try_announce(&self, session: Uuid, epoch: Option<u32>) {
        if let Err(error) = self.announce(session, epoch).await {
            tracing::warn!(%error, session.id = %session, "can't broadcast a session's change");
        }
    }
}
