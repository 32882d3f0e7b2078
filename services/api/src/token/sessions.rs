//! What is known about sessions, and how much that is worth by now.
//!
//! Auth tells every change of a session over the broker. As long as nothing was missed,
//! what was heard last still holds. That news would be heard is proven by calls that go
//! the same way and come back. When news may have been missed, or calls don't come back,
//! knowledge ages, and is confirmed by asking auth.

use crate::PROGRAM;
use std::convert::Infallible;
use std::time::Duration;

use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Received, Subscription, Topic};
use miniapp_runtime::retry::RetryLogger;
use miniapp_types::message::SessionChanged;
use parking_lot::RwLock;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::generations::Generations;

/// How many sessions are remembered at least.
const REMEMBERED: usize = 32 * 1024;
/// How old knowledge may be before it needs to be confirmed.
const FRESH: Duration = Duration::from_millis(750);
/// How often to find out whether news would be heard; well within [`FRESH`].
const HEARTBEAT: Duration = Duration::from_millis(200);

/// Where a session stands. Its epoch only grows, and what has ended stays so: whichever
/// way news and answers arrive, the later state wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The token of this epoch is valid.
    Current(u32),
    /// Tokens up to this epoch aren't; what came after isn't known.
    Past(u32),
    /// No token is.
    Ended,
}

impl Standing {
    pub(super) fn or_later(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ended, _) | (_, Self::Ended) => Self::Ended,
            (Self::Current(one), Self::Current(two)) => Self::Current(one.max(two)),
            (Self::Past(one), Self::Past(two)) => Self::Past(one.max(two)),
            (Self::Current(current), Self::Past(past))
            | (Self::Past(past), Self::Current(current)) => {
                if current > past {
                    Self::Current(current)
                } else {
                    Self::Past(past)
                }
            }
        }
    }
}

/// What can be said about a token without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is its session's newest.
    Valid,
    /// It is not, for good.
    Revoked,
    /// It was its session's newest so long ago.
    Aged(Duration),
    /// Nothing.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    standing: Standing,
    /// Since when it is known.
    at: Instant,
}

/// How the news arrive.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// Since when nothing can have been missed; `None` while nobody listens.
    unbroken_since: Option<Instant>,
    /// Until when everything was heard.
    heard_until: Option<Instant>,
}

/// Sessions that were heard of.
#[derive(Debug)]
pub(super) struct Sessions {
    known: RwLock<Generations<Uuid, Known>>,
    link: RwLock<Link>,
    /// Calls are numbered by the microseconds since then.
    began: Instant,
}

impl Sessions {
    pub fn new() -> Self {
        Self {
            known: RwLock::new(Generations::new(REMEMBERED)),
            link: RwLock::default(),
            began: Instant::now(),
        }
    }

    /// What can be said about the token of `epoch`.
    pub fn judge(&self, session: Uuid, epoch: u32) -> Verdict {
        let (known, fades) = match self.known.read().get(&session) {
            Some((known, fades)) => (*known, fades),
            None => return Verdict::Unknown,
        };
        if fades {
            self.learn(session, known.standing, known.at);
        }
        match known.standing {
            Standing::Ended => Verdict::Revoked,
            Standing::Past(past) if epoch <= past => Verdict::Revoked,
            Standing::Current(current) if epoch < current => Verdict::Revoked,
            Standing::Current(current) if epoch == current => {
                match self.link.read().age(known.at) {
                    age if age <= FRESH => Verdict::Valid,
                    age => Verdict::Aged(age),
                }
            }
            Standing::Past(_) | Standing::Current(_) => Verdict::Unknown,
        }
    }

    /// Notes what was true at `at`.
    pub fn learn(&self, session: Uuid, standing: Standing, at: Instant) {
        let mut sessions = self.known.write();
        let learned = match sessions.get(&session) {
            Some((known, _)) => {
                let later = known.standing.or_later(standing);
                // The older word says nothing about when the newer one was true.
                let at = match (later == known.standing, later == standing) {
                    (true, true) => at.max(known.at),
                    (true, false) => known.at,
                    (false, _) => at,
                };
                Known { standing: later, at }
            }
            None => Known { standing, at },
        };
        sessions.insert(session, learned);
    }

    #[cfg(test)]
    pub fn hears(&self) -> bool {
        let link = *self.link.read();
        link.unbroken_since.is_some() && link.heard_until.is_some()
    }

    /// Listens to the news until it is dropped.
    pub async fn follow(&self, broker: &dyn Broker) -> Infallible {
        // It has to be heard again soon, so the waits don't grow.
        let mut retry_log = RetryLogger::new("subscribing to session changes");
        loop {
            match broker.subscribe(Topic::Sessions).await {
                Ok(mut subscription) => {
                    retry_log.recovered();
                    self.link.write().unbroken_since = Some(Instant::now());
                    self.listen(broker.system(), &mut *subscription).await;
                    self.link.write().unbroken_since = None;
                }
                Err(error) => retry_log.failed(&error),
            }
            sleep(HEARTBEAT).await;
        }
    }

    async fn listen(&self, system: &'static str, subscription: &mut dyn Subscription) {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = subscription.next() => match received {
                    Some(received) => self.hear(system, &received),
                    None => return,
                },
                _ = beat.tick() => {
                    let since = self.began.elapsed().as_micros();
                    subscription.send_probe(u64::try_from(since).unwrap_or(u64::MAX));
                }
            }
        }
    }

    fn hear(&self, system: &'static str, received: &Received) {
        let now = Instant::now();
        let message = match received {
            Received::Gap => {
                tracing::debug!("session changes may have been missed");
                self.link.write().unbroken_since = Some(now);
                return;
            }
            Received::Probe(number) => {
                let called_at = self.began.checked_add(Duration::from_micros(*number));
                // A number from nowhere proves nothing.
                let heard_until = called_at.filter(|at| *at <= now);
                let mut link = self.link.write();
                link.heard_until = link.heard_until.max(heard_until);
                return;
            }
            Received::Message(message) => message,
        };
        let processing = ProcessSpan::start(PROGRAM.name, system, Topic::Sessions, message);
        match message.decode::<SessionChanged>() {
            Ok(SessionChanged::V1 { session_id, .. }) if session_id.is_nil() => {
                tracing::debug!("auth reported that session changes may have been dropped");
                self.link.write().unbroken_since = Some(now);
            }
            Ok(SessionChanged::V1 { session_id, epoch, at: _ }) => {
                self.learn(session_id, epoch.map_or(Standing::Ended, Standing::Current), now);
            }
            Err(error) => {
                // Whatever it says, it is about a session that is known wrongly from here on.
                self.link.write().unbroken_since = Some(now);
                tracing::warn!(%error, message.id = %message.id, "could not decode a session change");
            }
        }
        if let Some(processing) = processing {
            processing.end(|span| span);
        }
    }
}

impl Link {
    /// The age of knowledge from `at`: news would have told a change as long as they came.
    fn age(self, at: Instant) -> Duration {
        let held_until = match self {
            Self { unbroken_since: Some(since), heard_until: Some(until) } if at >= since => {
                at.max(until)
            }
            _ => at,
        };
        held_until.elapsed()
    }
}
