//! Publishing session events. An API key is announced like a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
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

/// Broadcasts changes of sessions and API keys after they have committed, and retries what the broker
/// did not accept.
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

/// The latest state of each session.
type Unpublished = HashMap<Uuid, SessionState>;

/// The state of a session after a change.
#[derive(Clone, Copy, Debug)]
struct SessionState {
    /// `None` if it has ended.
    epoch: Option<u32>,
    /// When it was current. A retry keeps it: another process may have changed the session since.
    at: Timestamp,
}

impl EventPublisher {
    pub(crate) fn new(
        service: &'static str,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        keys: Arc<SigningKeys>,
    ) -> Self {
        Self(Arc::new(Inner { service, broker, clock, keys, unpublished: Mutex::default() }))
    }

    /// Publishes that the session was at `epoch`, or had ended, `at` a time.
    pub(crate) async fn publish(
        &self,
        session_id: Uuid,
        epoch: Option<u32>,
        at: Timestamp,
    ) -> anyhow::Result<()> {
        let id = clock::new_id(self.0.clock.as_ref());
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
        let lost = SessionState { epoch: None, at: self.0.clock.now() };
        keep_latest(&mut self.0.unpublished.lock(), Uuid::nil(), lost);
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
        self.publish_states(unpublished).await;
    }

    /// Publishes changes that have just committed, now or when the broker is available.
    pub(crate) async fn publish_all(&self, changes: impl IntoIterator<Item = (Uuid, Option<u32>)>) {
        let at = self.0.clock.now();
        let changes = changes.into_iter();
        let states = changes.map(|(session, epoch)| (session, SessionState { epoch, at }));
        self.publish_states(states).await;
    }

    /// Publishes each state until the broker fails, and keeps the rest for later.
    async fn publish_states(&self, states: impl IntoIterator<Item = (Uuid, SessionState)>) {
        let mut is_available = true;
        for (session, state) in states {
            is_available = is_available && self.try_publish(session, state).await;
            if !is_available {
                keep_latest(&mut self.0.unpublished.lock(), session, state);
            }
        }
    }

    async fn try_publish(&self, session: Uuid, state: SessionState) -> bool {
        let SessionState { epoch, at } = state;
        let error = match timeout(TIMEOUT, self.publish(session, epoch, at)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the broker timed out".to_owned(),
        };
        tracing::debug!(error, session.id = %session, "failed to publish a session event; retrying");
        false
    }
}

/// Merges an event into the unpublished ones. An end is final, and an epoch only grows.
fn keep_latest(unpublished: &mut Unpublished, session: Uuid, state: SessionState) {
    let kept = unpublished.entry(session).or_insert(state);
    if kept.epoch.is_some_and(|kept| state.epoch.is_none_or(|epoch| epoch > kept)) {
        *kept = state;
    }
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
            for (second, epoch) in (0..).zip(epochs) {
                let at = Timestamp::constant(second, 0);
                keep_latest(&mut unpublished, Uuid::nil(), SessionState { epoch, at });
            }
            let SessionState { epoch, at } = unpublished[&Uuid::nil()];
            assert_eq!((epoch, at), (expected, Timestamp::constant(1, 0)), "with its time");
        }
    }
}
