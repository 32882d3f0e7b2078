//! Delivers outbox messages.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use miniapp_broker::spans::PublishSpan;
use miniapp_broker::{Broker, Message, Queue};
use miniapp_runtime::backoff::Backoff;
use miniapp_runtime::clock::{self, Clock, MAX_SKEW};
use miniapp_runtime::clock_step::StepDetector;
use miniapp_runtime::retry::RetryLogger;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_telemetry::trace::{CompletedSpan, CorrelationIds, SpanClock, SpanHandle, in_trace};
use miniapp_types::message::AccountDeleted;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::api_key::ApiKey;
use crate::event_publisher::EventPublisher;
use crate::keys::SigningKeys;
use crate::mail::{Mail, MailError, Mailer};
use crate::metrics::{self, MailOutcome};
use crate::outbox::{Lane, OutboxCodec, OutboxKind, OutboxMessage, OutboxRow};
use crate::session::Session;
use crate::store::{Store, StoreError};

const BATCH_SIZE: u32 = 20;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// After this time another process may deliver a claimed message.
const CLAIM_TIMEOUT: Duration = Duration::from_mins(1);
/// How often to look for messages that other processes left.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), LONGEST_WAIT);
/// The longest wait before a retry. Longer than [`CLAIM_TIMEOUT`].
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// How long published deletions are retained, for brokers that are not durable.
const DELETION_RETENTION: Duration = Duration::from_hours(7 * 24);

/// API keys that were revoked within this time are announced with the sessions of their account.
const RECENT_REVOCATIONS: Duration = Duration::from_hours(1);

/// Delivers outbox messages as soon as they are due.
pub struct Relay {
    pub(crate) service: &'static str,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) mailer: Arc<dyn Mailer>,
    pub(crate) codec: Arc<OutboxCodec>,
    pub(crate) events: EventPublisher,
    pub(crate) keys: Arc<SigningKeys>,
    pub(crate) refresh_grace: Duration,
    pub(crate) wake: Arc<Wake>,
}

/// Wakes the relay for messages that were committed.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    mails: Notify,
    events: Notify,
}

impl Wake {
    pub fn notify(&self) {
        self.mails.notify_one();
        self.events.notify_one();
    }

    fn lane(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::Mails => &self.mails,
            Lane::Events => &self.events,
        }
    }
}

/// Smaller steps back only prolong waits by themselves.
const MIN_STEP: SignedDuration = SignedDuration::from_secs(2);

/// Notices that the clock was set back.
struct ClockWatch {
    steps: StepDetector,
    /// What has not been handled.
    step: Option<StepBack>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepBack {
    /// The clock may have been set back before the process started.
    Possible,
    Seen,
}

impl Default for ClockWatch {
    fn default() -> Self {
        Self { steps: StepDetector::default(), step: Some(StepBack::Possible) }
    }
}

impl ClockWatch {
    fn observe(&mut self, now: Timestamp) {
        let step = self.steps.observe(now).map_or(SignedDuration::ZERO, |elapsed| elapsed.step);
        if step < -MIN_STEP {
            self.step = Some(StepBack::Seen);
        }
    }
}

enum Delivery {
    Delivered,
    /// The message can never be delivered, for this reason.
    Abandoned(String),
}

impl Relay {
    /// Runs until `shutdown`, and then delivers once more what is due.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        if !self.broker.is_durable() {
            self.republish_deletions().await;
        }
        let work = async {
            let (mails, events) =
                (self.drain(Lane::Mails, &shutdown), self.drain(Lane::Events, &shutdown));
            tokio::join!(self.events.run(&shutdown), mails, events)
        };
        tokio::pin!(work);
        tokio::select! {
            _ = &mut work => return,
            () = self.check_mailer() => {}
        }
        work.await;
    }

    /// Logs at the start whether the mail server is available.
    async fn check_mailer(&self) {
        if let Err(error) = self.mailer.ping().await {
            tracing::warn!(%error, "mail server unavailable; mail stays in the outbox");
        }
    }

    /// Delivers the messages of a lane.
    async fn drain(self: &Arc<Self>, lane: Lane, shutdown: &Shutdown) {
        let mut retry_log = RetryLogger::new("claiming outbox messages");
        let mut clock = ClockWatch::default();
        loop {
            let is_last = shutdown.has_begun();
            let claimed = match self.end_waits(&mut clock).await {
                Ok(()) => self.deliver_due(lane).await,
                Err(error) => Err(error),
            };
            let count = match claimed {
                Ok(count) => {
                    retry_log.recovered();
                    count
                }
                Err(error) => {
                    retry_log.failed(&error);
                    0
                }
            };
            if is_last {
                return;
            }
            if count > 0 {
                continue;
            }
            tokio::select! {
                () = self.wake.lane(lane).notified() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = shutdown.begun() => {}
            }
        }
    }

    /// Ends what would last longer than intended, because the clock was set back: the waits of
    /// messages, and the time in which refresh tokens are issued again.
    async fn end_waits(&self, clock: &mut ClockWatch) -> Result<(), StoreError> {
        let now = self.clock.now();
        clock.observe(now);
        // Later times are from before the step.
        let (due, refreshed) = match clock.step {
            Some(StepBack::Possible) => (now + LONGEST_WAIT, now + MAX_SKEW),
            Some(StepBack::Seen) => (now, now - self.refresh_grace),
            None => return Ok(()),
        };
        let count = self.store.advance_outbox_messages(due, now).await?;
        if count > 0 {
            tracing::warn!(count, "the clock was set back; retrying outbox messages");
        }
        self.store.end_refresh_grace(refreshed).await?;
        clock.step = None;
        Ok(())
    }

    /// Attempts each due message once, and returns their number.
    pub async fn run_once(self: &Arc<Self>) -> Result<usize, StoreError> {
        let (mails, events) =
            tokio::join!(self.deliver_due(Lane::Mails), self.deliver_due(Lane::Events));
        Ok(mails? + events?)
    }

    /// Attempts each due message of a lane once, and returns their number.
    async fn deliver_due(self: &Arc<Self>, lane: Lane) -> Result<usize, StoreError> {
        if lane == Lane::Events {
            self.events.republish().await;
        }
        let (now, limit) = (self.clock.now(), BATCH_SIZE);
        let due = self.store.claim_outbox_messages(lane, now, now + CLAIM_TIMEOUT, limit).await?;
        let count = due.len();
        let mut attempts = JoinSet::new();
        for message in due {
            let relay = Arc::clone(self);
            attempts.spawn(async move { relay.attempt(message).await });
        }
        // A message whose attempt panics is retried when its claim expires.
        while attempts.join_next().await.is_some() {}
        Ok(count)
    }

    /// Publishes recent deletions again, because the broker may have lost them.
    async fn republish_deletions(&self) {
        let now = self.clock.now();
        match self.store.reopen_outbox_messages(OutboxKind::AccountDeleted, now).await {
            Ok(count) if count > 0 => {
                tracing::info!(count, "republishing recent account deletions");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "failed to republish recent account deletions"),
        }
    }

    async fn attempt(&self, message: OutboxRow) {
        let span = self.span_of(&message);
        let (id, kind, attempts) = (message.id, message.kind, message.attempts);
        let work = async {
            let delivery = tokio::time::timeout(ATTEMPT_TIMEOUT, self.deliver(&message)).await;
            let delivery = delivery.unwrap_or_else(|_| Err(anyhow::anyhow!("timed out")));
            let recorded = match delivery {
                Ok(Delivery::Delivered) => self.finish(id, kind).await,
                Ok(Delivery::Abandoned(reason)) => {
                    record_error("given_up");
                    tracing::warn!(reason, "outbox message abandoned");
                    self.store.finish_outbox_message(id, None).await
                }
                Err(error) => {
                    record_error("postponed");
                    let delay = RETRY_BACKOFF.random_delay(attempts);
                    tracing::warn!(
                        error = format!("{error:#}"),
                        ?delay,
                        "outbox message failed; retrying"
                    );
                    self.store.postpone_outbox_message(id, self.clock.now() + delay).await
                }
            };
            if let Err(error) = recorded {
                // The message is delivered again when its claim expires.
                tracing::warn!(%error, "failed to record the result of an outbox message");
            }
        };
        in_trace(CorrelationIds::from_context(&message.trace), work.instrument(span)).await;
    }

    /// Returns a span for an attempt, in the trace of the request that caused the message.
    fn span_of(&self, message: &OutboxRow) -> Span {
        let Some(parent) = SpanHandle::from_context(&message.trace) else { return Span::none() };
        let times = SpanClock::new(&*self.clock);
        // Why later attempts wait is in the log.
        if let Some(created_at) = clock::time_of(message.id).filter(|_| message.attempts == 0) {
            let created_at = times.to_span_time(created_at).min(times.now());
            CompletedSpan::internal("wait in outbox", &parent, created_at, times.now())
                .with_service(self.service)
                .with_attribute("duty.kind", message.kind.name())
                .record();
        }
        let name = match message.kind {
            OutboxKind::Mail => "send mail",
            OutboxKind::AccountDeleted => "publish account deletion",
            OutboxKind::SessionsChanged => "publish session changes",
        };
        let span = tracing::info_span!(
            "duty",
            otel.name = name,
            otel.status_code = Empty,
            error.type = Empty,
            service.name = self.service,
            duty.id = %message.id,
            duty.kind = %message.kind,
            duty.attempt = message.attempts + 1,
        );
        miniapp_telemetry::trace::set_parent(&span, &message.trace);
        span
    }

    async fn deliver(&self, row: &OutboxRow) -> anyhow::Result<Delivery> {
        if row.not_after.is_some_and(|end| end <= self.clock.now()) {
            if row.kind == OutboxKind::Mail {
                metrics::record_mail(MailOutcome::Expired);
            }
            return Ok(Delivery::Abandoned("expired".to_owned()));
        }
        let message = self.codec.decode(row)?;
        let delivered = match message {
            OutboxMessage::Mail(mail) => match self.send(&mail).await {
                Err(MailError::Permanent(reason)) => return Ok(Delivery::Abandoned(reason)),
                sent => sent.map_err(Into::into),
            },
            OutboxMessage::WithheldMail(_) => Ok(()),
            OutboxMessage::AccountDeleted { account } => {
                self.publish_deletion(row.id, account).await
            }
            OutboxMessage::SessionsChanged { account } => self.announce_sessions(account).await,
        };
        delivered.map(|()| Delivery::Delivered)
    }

    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let start = Instant::now();
        let sent = self.mailer.send(mail).await;
        metrics::record_mail_duration(start.elapsed());
        metrics::record_mail(match sent {
            Ok(()) => MailOutcome::Sent,
            Err(MailError::Temporary(_)) => MailOutcome::Deferred,
            Err(MailError::Permanent(_)) => MailOutcome::Refused,
        });
        sent
    }

    async fn publish_deletion(&self, id: Uuid, user_id: Uuid) -> anyhow::Result<()> {
        // A message of a deletion may replace one that a compromised key has signed. This process
        // may not know yet that the key was removed.
        self.keys.refresh().await?;
        let deleted = AccountDeleted::V1 { user_id, signature: None };
        let mut message = Message::new(id, &self.keys.sign_event(id, deleted)?)
            .with_conversation(user_id)
            .with_trace(miniapp_telemetry::trace::current_context());
        let (queue, system) = (Queue::AccountDeletions, self.broker.system());
        let publishing = PublishSpan::start(system, queue, &mut message);
        let answers = self.broker.publish(queue, vec![message]).await;
        let answer = answers.into_iter().next().context("the broker didn't answer")?;
        if let Some(publishing) = publishing {
            publishing.end(&answer, |span| span.with_service(self.service));
        }
        Ok(answer?)
    }

    async fn announce_sessions(&self, account: Uuid) -> anyhow::Result<()> {
        let read_at = self.clock.now();
        let sessions = self.store.sessions(account).await?;
        let keys = self.store.api_keys(account, read_at - RECENT_REVOCATIONS).await?;
        let sessions = sessions.iter().map(Session::id_and_epoch);
        for (id, epoch) in sessions.chain(keys.iter().map(ApiKey::id_and_epoch)) {
            self.events.publish(id, epoch, read_at).await?;
        }
        Ok(())
    }

    async fn finish(&self, id: Uuid, kind: OutboxKind) -> Result<(), StoreError> {
        let is_retained = kind == OutboxKind::AccountDeleted && !self.broker.is_durable();
        let retained_until = is_retained.then(|| self.clock.now() + DELETION_RETENTION);
        self.store.finish_outbox_message(id, retained_until).await
    }
}

/// Marks the current span as failed.
fn record_error(error_type: &str) {
    let span = Span::current();
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
}
