//! Telling whoever checks tokens what became of sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::spans::PublishSpan;
use miniapp_broker::{Broker, BrokerError, Message, Topic};
use miniapp_runtime::clock::{self, Clock};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::message::SessionChanged;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// How long a request waits for the broker. What that hasn't taken by then is told again,
/// and may be told twice.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often to tell what hasn't been told; those who rely on news expect them within a
/// second.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Broadcasts changes of sessions, after they have committed. What the broker doesn't
/// take is told again until it does. What a process commits and doesn't live to tell, it
/// tells of when it starts again: that something may have been left out.
#[derive(Clone)]
pub(crate) struct EventPublisher(Arc<Inner>);

struct Inner {
    service: &'static str,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    unpublished: Mutex<Unpublished>,
}

/// The newest word about each session.
type Unpublished = HashMap<Uuid, Option<u32>>;

impl EventPublisher {
    pub(crate) fn new(
        service: &'static str,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner { service, broker, clock, unpublished: Mutex::default() }))
    }

    /// The session is at `epoch`, or has ended.
    pub(crate) async fn publish(
        &self,
        session_id: Uuid,
        epoch: Option<u32>,
    ) -> Result<(), BrokerError> {
        let at = self.0.clock.now();
        let change = SessionChanged::V1 { session_id, epoch, at };
        let mut message = Message::new(clock::id_at(at), &change)
            .with_conversation(session_id)
            .with_trace(miniapp_telemetry::trace::current_context());
        let (broker, service) = (&self.0.broker, self.0.service);
        let publishing = PublishSpan::start(broker.system(), Topic::Sessions, &mut message);
        let answer = broker.broadcast(Topic::Sessions, message).await;
        if let Some(publishing) = publishing {
            publishing.end(&answer, |span| span.with_service(service));
        }
        answer
    }

    /// The session is at `epoch`; goes on without the broker.
    pub(crate) async fn changed(&self, session: Uuid, epoch: u32) {
        self.publish_all([(session, Some(epoch))]).await;
    }

    /// The sessions have ended; goes on without the broker.
    pub(crate) async fn ended(&self, sessions: impl IntoIterator<Item = Uuid>) {
        self.publish_all(sessions.into_iter().map(|session| (session, None))).await;
    }

    /// Tells what hasn't been told until `stop`, and then once more.
    pub(crate) async fn run(&self, stop: &Shutdown) {
        // Any session may have changed in a life before that ended too early to say so.
        keep(&mut self.0.unpublished.lock(), Uuid::nil(), None);
        loop {
            let is_last = stop.has_begun();
            self.republish().await;
            if is_last {
                return;
            }
            stop.token().run_until_cancelled(sleep(TELL_EVERY)).await;
        }
    }

    /// Tells what the broker didn't take before.
    pub(crate) async fn republish(&self) {
        let unpublished = std::mem::take(&mut *self.0.unpublished.lock());
        self.publish_all(unpublished).await;
    }

    /// Tells of each until the broker fails; the others have to wait for it.
    pub(crate) async fn publish_all(&self, changes: impl IntoIterator<Item = (Uuid, Option<u32>)>) {
        let mut works = true;
        for (session, epoch) in changes {
            works = works && self.try_publish(session, epoch).await;
            if !works {
                keep(&mut self.0.unpublished.lock(), session, epoch);
            }
        }
    }

    async fn try_publish(&self, session: Uuid, epoch: Option<u32>) -> bool {
        let error = match timeout(PATIENCE, self.publish(session, epoch)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the broker timed out".to_owned(),
        };
        tracing::debug!(error, session.id = %session, "failed to publish a session event; retrying");
        false
    }
}

/// An end is final, and an epoch only grows.
fn keep(unpublished: &mut Unpublished, session: Uuid, epoch: Option<u32>) {
    let kept = unpublished.entry(session).or_insert(epoch);
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
            let mut unpublished = Unpublished::new();
            for epoch in told {
                keep(&mut unpublished, Uuid::nil(), epoch);
            }
            assert_eq!(unpublished[&Uuid::nil()], expected);
        }
    }
}
