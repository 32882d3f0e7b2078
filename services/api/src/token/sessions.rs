//! The states of sessions and API keys known to this process, and how long they can be trusted.
//!
//! Auth broadcasts every change of a session or key. While no broadcast was missed, the last known
//! state is current. Probes through the broker prove that broadcasts would have arrived.
//! After a gap, or without returning probes, the state becomes stale and has to be confirmed
//! by introspection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Message, Received, Subscription, Topic};
use miniapp_runtime::clock::Clock;
use miniapp_runtime::retry::RetryLogger;
use miniapp_token::EventError;
use miniapp_types::message::SessionChanged;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::RwLock;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::metrics::{EventOutcome, record_event};
use crate::PROGRAM;

/// Checks that auth has signed the change in a message.
pub(super) type Verify<'a> =
    dyn Fn(&Message, &SessionChanged) -> Result<(), EventError> + Send + Sync + 'a;

const CACHE_CAPACITY: u64 = 32 * 1024;
/// The age at which a state is stale.
pub(super) const MAX_AGE: Duration = Duration::from_millis(750);
/// The interval of probes; well below [`MAX_AGE`].
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// What is known about the epochs of a session or an API key. The epoch only grows, and an ended
/// session stays ended. So states can be merged in any order, and the later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    /// The token of this epoch is valid.
    Current(u32),
    /// Tokens up to this epoch are revoked. Newer ones are unknown.
    Superseded(u32),
    /// Every token is revoked.
    Ended,
}

impl SessionState {
    pub fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ended, _) | (_, Self::Ended) => Self::Ended,
            (Self::Current(one), Self::Current(two)) => Self::Current(one.max(two)),
            (Self::Superseded(one), Self::Superseded(two)) => Self::Superseded(one.max(two)),
            (Self::Current(current), Self::Superseded(superseded))
            | (Self::Superseded(superseded), Self::Current(current)) => {
                if current > superseded {
                    Self::Current(current)
                } else {
                    Self::Superseded(superseded)
                }
            }
        }
    }
}

/// The status of a token as far as it is known without introspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenStatus {
    Valid,
    Revoked,
    /// It was valid this long ago.
    Stale(Duration),
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    state: SessionState,
    /// When the state was current.
    at: Instant,
}

impl Known {
    fn merge(self, other: Self) -> Self {
        let state = self.state.merge(other.state);
        // An outdated state does not prove that the newer one was current at that time.
        let at = match (state == self.state, state == other.state) {
            (true, true) => self.at.max(other.at),
            (true, false) => self.at,
            (false, _) => other.at,
        };
        Self { state, at }
    }
}

/// How well broadcasts are received.
#[derive(Clone, Copy, Debug, Default)]
struct Reception {
    /// Since when no broadcast can have been missed; `None` while not subscribed.
    gapless_since: Option<Instant>,
    /// When the last probe that returned was sent. All earlier broadcasts were received.
    complete_until: Option<Instant>,
}

impl Reception {
    /// Returns the age of a state that was current `at` a time: without a gap since then, it
    /// is as fresh as the last probe.
    fn age(self, at: Instant) -> Duration {
        let current_at = match self {
            Self { gapless_since: Some(since), complete_until: Some(until) } if at >= since => {
                at.max(until)
            }
            _ => at,
        };
        current_at.elapsed()
    }
}

#[derive(Debug)]
pub(super) struct Sessions {
    clock: Arc<dyn Clock>,
    known: Cache<Uuid, Known>,
    reception: RwLock<Reception>,
    /// Probes carry the microseconds since then.
    created_at: Instant,
}

impl Sessions {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let known = Cache::builder()
            .max_capacity(CACHE_CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { clock, known, reception: RwLock::default(), created_at: Instant::now() }
    }

    /// Returns the status of the session's token of `epoch`.
    pub fn status_of(&self, session: Uuid, epoch: u32) -> TokenStatus {
        let Some(Known { state, at }) = self.known.get(&session) else {
            return TokenStatus::Unknown;
        };
        match state {
            SessionState::Ended => TokenStatus::Revoked,
            SessionState::Superseded(superseded) if epoch <= superseded => TokenStatus::Revoked,
            SessionState::Current(current) if epoch < current => TokenStatus::Revoked,
            SessionState::Current(current) if epoch == current => {
                match self.reception.read().age(at) {
                    age if age <= MAX_AGE => TokenStatus::Valid,
                    age => TokenStatus::Stale(age),
                }
            }
            SessionState::Superseded(_) | SessionState::Current(_) => TokenStatus::Unknown,
        }
    }

    /// Whether it is known that the session has ended, or that the API key was revoked.
    pub fn has_ended(&self, id: Uuid) -> bool {
        self.known.get(&id).is_some_and(|known| known.state == SessionState::Ended)
    }

    /// Merges a state that was current `at` a time.
    pub fn update(&self, session: Uuid, state: SessionState, at: Instant) {
        let new = Known { state, at };
        self.known.entry(session).and_upsert_with(|entry| match entry {
            Some(entry) => entry.into_value().merge(new),
            None => new,
        });
    }

    #[cfg(test)]
    pub fn is_receiving(&self) -> bool {
        let reception = *self.reception.read();
        reception.gapless_since.is_some() && reception.complete_until.is_some()
    }

    /// Follows the session changes until it is dropped.
    pub async fn run(&self, broker: &dyn Broker, verify: &Verify<'_>) -> Infallible {
        let mut retry_log = RetryLogger::new("subscribing to session changes");
        loop {
            match broker.subscribe(Topic::Sessions).await {
                Ok(mut subscription) => {
                    retry_log.recovered();
                    self.reception.write().gapless_since = Some(Instant::now());
                    self.receive(broker.system(), &mut *subscription, verify).await;
                    self.reception.write().gapless_since = None;
                }
                Err(error) => retry_log.failed(&error),
            }
            // No backoff: until it is subscribed again, every check needs an introspection.
            sleep(PROBE_INTERVAL).await;
        }
    }

    async fn receive(
        &self,
        system: &'static str,
        subscription: &mut dyn Subscription,
        verify: &Verify<'_>,
    ) {
        let mut probes = interval(PROBE_INTERVAL);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = subscription.next() => match received {
                    Some(Received::Message(message)) => self.on_message(system, &message, verify),
                    Some(Received::Gap) => self.on_gap("the subscription was interrupted"),
                    Some(Received::Probe(sequence)) => self.on_probe(sequence),
                    None => return,
                },
                _ = probes.tick() => {
                    let sent_at = self.created_at.elapsed().as_micros();
                    subscription.send_probe(u64::try_from(sent_at).unwrap_or(u64::MAX));
                }
            }
        }
    }

    fn on_gap(&self, reason: &str) {
        tracing::debug!(reason, "session changes may have been missed");
        self.reception.write().gapless_since = Some(Instant::now());
    }

    fn on_probe(&self, sequence: u64) {
        let sent_at = self.created_at.checked_add(Duration::from_micros(sequence));
        // A forged probe from the future proves nothing.
        let sent_at = sent_at.filter(|at| *at <= Instant::now());
        let mut reception = self.reception.write();
        reception.complete_until = reception.complete_until.max(sent_at);
    }

    fn on_message(&self, system: &'static str, message: &Message, verify: &Verify<'_>) {
        let span = ProcessSpan::start(PROGRAM.name, system, Topic::Sessions, message);
        match message.decode::<SessionChanged>() {
            Ok(change) => match verify(message, &change) {
                Ok(()) => {
                    record_event("session_changed", EventOutcome::Verified);
                    self.on_change(&change);
                }
                Err(error) => {
                    record_event("session_changed", error.into());
                    // A previous release of auth does not sign, so it may be a real change.
                    self.on_gap("a session change could not be verified");
                    tracing::warn!(%error, message.id = %message.id, "refused a session change");
                }
            },
            Err(error) => {
                // Some session has changed; which one is unknown.
                self.on_gap("a session change could not be decoded");
                tracing::warn!(%error, message.id = %message.id, "could not decode a session change");
            }
        }
        if let Some(span) = span {
            span.end(|span| span);
        }
    }

    fn on_change(&self, change: &SessionChanged) {
        let SessionChanged::V1 { session_id, epoch, at, .. } = *change;
        if session_id.is_nil() {
            return self.on_gap("auth dropped session changes");
        }
        let now = Instant::now();
        // Negative if the clock of auth is ahead.
        let age = self.clock.now().duration_since(at).try_into().unwrap_or(Duration::ZERO);
        let at = Some(age).filter(|age| *age <= MAX_AGE).and_then(|age| now.checked_sub(age));
        let state = match (epoch, at) {
            (None, _) => SessionState::Ended,
            (Some(epoch), Some(_)) => SessionState::Current(epoch),
            // Delayed or replayed. Later changes may have been missed or evicted, so this one only
            // revokes the earlier tokens.
            (Some(epoch), None) => SessionState::Superseded(epoch.saturating_sub(1)),
        };
        self.update(session_id, state, at.unwrap_or(now));
    }
}
