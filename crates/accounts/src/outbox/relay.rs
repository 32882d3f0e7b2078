//! Does what is owed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use miniapp_broker::spans::PublishSpan;
use miniapp_broker::{Broker, Message, Queue};
use miniapp_runtime::clock::{self, Clock};
use miniapp_runtime::retry::RetryLogger;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_telemetry::trace::{CompletedSpan, CorrelationIds, SpanClock, SpanHandle, in_trace};
use miniapp_types::message::AccountDeleted;
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{OutboxCodec, OutboxKind, OutboxMessage, OutboxRow};
use crate::event_publisher::EventPublisher;
use crate::mail::{Mail, MailError, Mailer};
use crate::metrics::{self, Sending};
use crate::store::{Store, StoreError};

/// How many duties are done at a time.
const BATCH: u32 = 20;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How long a duty is left alone once someone tries it: should that one vanish, another
/// takes it after this time.
const CLAIM: Duration = Duration::from_mins(1);
/// How often replicas and other processes are looked after.
const POLL: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
const LONGEST_DELAY: Duration = Duration::from_mins(5);
/// How long a deletion is remembered once told, for brokers that forget.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// Does what is owed, as soon as it is due.
pub struct Relay {
    pub(crate) service: &'static str,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) mailer: Arc<dyn Mailer>,
    pub(crate) codec: Arc<OutboxCodec>,
    pub(crate) news: EventPublisher,
    pub(crate) wake: Arc<Notify>,
}

/// What became of an attempt.
enum Attempt {
    Done,
    /// It never will be done; why.
    GivenUp(String),
}

impl Relay {
    /// Works until told to stop; tries what is due once more then.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        if !self.broker.is_durable() {
            self.republish_deletions().await;
        }
        let work = async { tokio::join!(self.news.run(&shutdown), self.drain(&shutdown)) };
        tokio::pin!(work);
        tokio::select! {
            _ = &mut work => return,
            () = self.try_mailer() => {}
        }
        work.await;
    }

    /// Tells at the start already should mail not work.
    async fn try_mailer(&self) {
        if let Err(error) = self.mailer.ping().await {
            tracing::warn!(%error, "mail server unavailable; mail stays in the outbox");
        }
    }

    async fn drain(self: &Arc<Self>, shutdown: &Shutdown) {
        let mut retry_log = RetryLogger::new("claiming outbox messages");
        loop {
            let is_last = shutdown.has_begun();
            let done = match self.run_once().await {
                Ok(done) => {
                    retry_log.recovered();
                    done
                }
                Err(error) => {
                    retry_log.failed(&error);
                    0
                }
            };
            if is_last {
                return;
            }
            if done > 0 {
                continue;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = shutdown.begun() => {}
            }
        }
    }

    /// Tries everything that is due once; how many that was.
    pub async fn run_once(self: &Arc<Self>) -> Result<usize, StoreError> {
        self.news.republish().await;
        let now = self.clock.now();
        let due = self.store.claim_outbox_messages(now, now + CLAIM, BATCH).await?;
        let count = due.len();
        let mut attempts = JoinSet::new();
        for message in due {
            let relay = Arc::clone(self);
            attempts.spawn(async move { relay.attempt(message).await });
        }
        // The claim of one that panics runs out, and it is tried again.
        while attempts.join_next().await.is_some() {}
        Ok(count)
    }

    /// Owes all recent deletions again: a broker that forgot them can't tell.
    async fn republish_deletions(&self) {
        let now = self.clock.now();
        match self.store.reopen_outbox_messages(OutboxKind::AccountDeleted, now).await {
            Ok(count) if count > 0 => {
                tracing::info!(count, "republishing recent account deletions")
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "failed to republish recent account deletions"),
        }
    }

    async fn attempt(&self, message: OutboxRow) {
        let span = self.span_of(&message);
        let (id, kind, attempts) = (message.id, message.kind, message.attempts);
        let work = async {
            let tried = tokio::time::timeout(ATTEMPT, self.try_it(&message)).await;
            let settled = match tried.unwrap_or_else(|_| Err(anyhow::anyhow!("timed out"))) {
                Ok(Attempt::Done) => self.finish(id, kind).await,
                Ok(Attempt::GivenUp(reason)) => {
                    failed("given_up");
                    tracing::warn!(reason, "outbox message abandoned");
                    self.store.finish_outbox_message(id, None).await
                }
                Err(error) => {
                    failed("postponed");
                    let delay = delay_after(attempts);
                    tracing::warn!(
                        error = format!("{error:#}"),
                        ?delay,
                        "outbox message failed; retrying"
                    );
                    self.store.postpone_outbox_message(id, self.clock.now() + delay).await
                }
            };
            if let Err(error) = settled {
                // Its claim runs out, and it is done once more.
                tracing::warn!(%error, "failed to record the result of an outbox message");
            }
        };
        in_trace(CorrelationIds::from_context(&message.trace), work.instrument(span)).await;
    }

    /// The doing of a message, in the trace of the request that caused it.
    fn span_of(&self, message: &OutboxRow) -> Span {
        let Some(parent) = SpanHandle::from_context(&message.trace) else { return Span::none() };
        let times = SpanClock::new(&*self.clock);
        // Later attempts wait for reasons of their own, which are in the log.
        if let Some(owed_at) = clock::time_of(message.id).filter(|_| message.attempts == 0) {
            let owed_at = times.to_span_time(owed_at).min(times.now());
            CompletedSpan::internal("wait in outbox", &parent, owed_at, times.now())
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

    async fn try_it(&self, stored: &OutboxRow) -> anyhow::Result<Attempt> {
        if stored.not_after.is_some_and(|end| end <= self.clock.now()) {
            if stored.kind == OutboxKind::Mail {
                metrics::mailed(Sending::Expired);
            }
            return Ok(Attempt::GivenUp("expired".to_owned()));
        }
        let content =
            self.codec.read(stored).context("its payload can't be decrypted or parsed")?;
        let done = match content {
            OutboxMessage::Mail(mail) => match self.send(&mail).await {
                Err(MailError::Refused(reason)) => return Ok(Attempt::GivenUp(reason)),
                sent => sent.map_err(Into::into),
            },
            OutboxMessage::Withheld(_) => Ok(()),
            OutboxMessage::AccountDeleted { account } => {
                self.publish_deletion(stored.id, account).await
            }
            OutboxMessage::SessionsChanged { account } => self.announce_sessions(account).await,
        };
        done.map(|()| Attempt::Done)
    }

    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let began = Instant::now();
        let sent = self.mailer.send(mail).await;
        metrics::mail_took(began.elapsed());
        metrics::mailed(match sent {
            Ok(()) => Sending::Sent,
            Err(MailError::Later(_)) => Sending::Deferred,
            Err(MailError::Refused(_)) => Sending::Refused,
        });
        sent
    }

    async fn publish_deletion(&self, id: Uuid, user_id: Uuid) -> anyhow::Result<()> {
        let mut message = Message::new(id, &AccountDeleted::V1 { user_id })
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
        for session in self.store.sessions(account).await? {
            let (id, epoch) = session.standing();
            self.news.publish(id, epoch).await?;
        }
        Ok(())
    }

    async fn finish(&self, id: Uuid, kind: OutboxKind) -> Result<(), StoreError> {
        let is_remembered = kind == OutboxKind::AccountDeleted && !self.broker.is_durable();
        let remembered = is_remembered.then(|| self.clock.now() + REMEMBERED);
        self.store.finish_outbox_message(id, remembered).await
    }
}

/// Notes in the current span how it failed.
fn failed(how: &str) {
    let span = Span::current();
    span.record("error.type", how);
    span.record("otel.status_code", "ERROR");
}

/// Doubles from a second on, with a quarter of chance so that many don't come back at
/// once.
fn delay_after(attempts: u32) -> Duration {
    let seconds = 1_u64.checked_shl(attempts.min(16)).unwrap_or(u64::MAX);
    let delay = Duration::from_secs(seconds).min(LONGEST_DELAY);
    delay.mul_f64(rand::rng().random_range(0.75..1.25))
}
