//! Publishing session events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::spans::PublishSpan;
use miniapp_broker::{Broker, Message, Topic};
use miniapp_runtime::clock::{self, Clock};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::message::SessionChanged;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::keys::SigningKeys;

/// How long a request waits for the broker. After a timeout the event is published again,
/// so it may arrive twice.
const TIMEOUT: Duration = Duration::from_millis(300);
/// How often unpublished events are retried. Consumers expect events within a second.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Broadcasts changes of sessions after they have committed, and retries what the broker did
/// not accept.
///
/// Events that a crash loses are covered by the next start, which publishes that any session
/// may have changed.
#[derive(Clone)]
pub(crate) struct EventPublisher(Arc<Inner>);

struct Inner {
    service: &'static str,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    keys: Arc<SigningKeys>,
    unpublished: Mutex<Unpublished>,
}

/// The latest epoch of each session, `None` if it has ended.
type Unpublished = HashMap<Uuid, Option<u32>>;

impl EventPublisher {
    pub(crate) fn new(
        service: &'static str,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        keys: Arc<SigningKeys>,
    ) -> Self {
        Self(Arc::new(Inner { service, broker, clock, keys, unpublished: Mutex::default() }))
    }

    /// Publishes that the session is at `epoch`, or has ended.
    pub(crate) async fn publish(&self, session_id: Uuid, epoch: Option<u32>) -> anyhow::Result<()> {
        let at = self.0.clock.now();
        let id = clock::id_at(at);
        let change = SessionChanged::V1 { session_id, epoch, at, signature: None };
        let change = self.0.keys.sign_event(id, change)?;
        let mut message = Message::new(id, &change)
            .with_conversation(session_id)
            .with_trace(miniapp_telemetry::trace::current_context());
        let (broker, service) = (&self.0.broker, self.0.service);
        let publishing = PublishSpan::start(broker.system(), Topic::Sessions, &mut message);
        let answer = broker.broadcast(Topic::Sessions, message).await;
        if let Some(publishing) = publishing {
            publishing.end(&answer, |span| span.with_service(service));
        }
        Ok(answer?)
    }

    /// Publishes a new epoch, now or when the broker is available.
    pub(crate) async fn session_changed(&self, session: Uuid, epoch: u32) {
        self.publish_all([(session, Some(epoch))]).await;
    }

    /// Publishes the end of sessions, now or when the broker is available.
    pub(crate) async fn session_ended(&self, sessions: impl IntoIterator<Item = Uuid>) {
        self.publish_all(sessions.into_iter().map(|session| (session, None))).await;
    }

    /// Retries unpublished events until `stop`, and then once more.
    pub(crate) async fn run(&self, stop: &Shutdown) {
        // A previous process may have crashed before it published a change.
        keep_latest(&mut self.0.unpublished.lock(), Uuid::nil(), None);
        loop {
            let is_last = stop.has_begun();
            self.republish().await;
            if is_last {
                return;
            }
            stop.token().run_until_cancelled(sleep(RETRY_INTERVAL)).await;
        }
    }

    /// Retries the events that the broker did not accept.
    pub(crate) async fn republish(&self) {
        let unpublished = std::mem::take(&mut *self.0.unpublished.lock());
        self.publish_all(unpublished).await;
    }

    /// Publishes each event until the broker fails, and keeps the rest for later.
    pub(crate) async fn publish_all(&self, changes: impl IntoIterator<Item = (Uuid, Option<u32>)>) {
        let mut is_available = true;
        for (session, epoch) in changes {
            is_available = is_available && self.try_publish(session, epoch).await;
            if !is_available {
                keep_latest(&mut self.0.unpublished.lock(), session, epoch);
            }
        }
    }

    async fn try_publish(&self, session: Uuid, epoch: Option<u32>) -> bool {
        let error = match timeout(TIMEOUT, self.publish(session, epoch)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the broker timed out".to_owned(),
        };
        tracing::debug!(error, session.id = %session, "failed to publish a session event; retrying");
        false
    }
}

/// Merges an event into the unpublished ones. An end is final, and an epoch only grows.
fn keep_latest(unpublished: &mut Unpublished, session: Uuid, epoch: Option<u32>) {
    let kept = unpublished.entry(session).or_insert(epoch);
    *kept = kept.zip(epoch).map(|(kept, epoch)| kept.max(epoch));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_latest_prefers_the_end_and_the_highest_epoch() {
        let cases =
            [(vec![Some(1), Some(3), Some(2)], Some(3)), (vec![Some(1), None, Some(2)], None)];
        for (epochs, expected) in cases {
            let mut unpublished = Unpublished::new();
            for epoch in epochs {
                keep_latest(&mut unpublished, Uuid::nil(), epoch);
            }
            assert_eq!(unpublished[&Uuid::nil()], expected);
        }
    }
}
