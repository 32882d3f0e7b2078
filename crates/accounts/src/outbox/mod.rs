//! What is owed to others: mails and messages.
//!
//! A message commits together with the change that causes it, and ends only when whoever
//! it is for has taken it over; so it is done at least once. Its content is sealed in
//! the store, for a mail may hold a code.

mod relay;

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_types::trace::TraceContext;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::mail::Mail;
use crate::seal::Sealer;
use crate::secret::PlatformSecret;

pub use relay::Relay;

/// Something owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "duty", rename_all = "snake_case")]
pub(crate) enum OutboxMessage {
    /// A mail is to be sent.
    Mail(Mail),
    /// A mail is not to be sent, to an address that gets none: for whoever asked for it
    /// that takes the same time.
    Withheld(Mail),
    /// Whoever keeps something of the account is to be told that it is gone.
    AccountDeleted { account: Uuid },
    /// Whoever checks tokens is to be told of all of the account's sessions.
    SessionsChanged { account: Uuid },
}

/// What a duty is about, for the store, which can't read its content.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum OutboxKind {
    /// A mail.
    Mail,
    /// EventPublisher of a deleted account.
    AccountDeleted,
    /// EventPublisher of an account's sessions.
    SessionsChanged,
}

impl OutboxKind {
    /// Its name in the store.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub kind: OutboxKind,
    /// The sealed content.
    pub payload: Vec<u8>,
    /// The trace of the request that caused it.
    pub trace: TraceContext,
    /// When it is to be done, or tried again.
    pub due_at: Timestamp,
    /// When it has become pointless.
    pub not_after: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
}

/// How much of one kind is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxBacklog {
    /// The kind.
    pub kind: OutboxKind,
    /// How many duties there are.
    pub count: u64,
    /// Since when there is the first of them.
    pub since: Timestamp,
}

/// Writes duties down and reads them.
pub(crate) struct OutboxCodec(Sealer);

impl OutboxCodec {
    pub(crate) fn new(secret: &PlatformSecret) -> anyhow::Result<Self> {
        Ok(Self(Sealer::new(secret, "outbox")?))
    }

    /// A duty of the running request that is due now.
    pub(crate) fn write(
        &self,
        message: &OutboxMessage,
        now: Timestamp,
    ) -> anyhow::Result<OutboxRow> {
        let id = clock::id_at(now);
        let payload = self.0.seal(id.as_bytes(), &serde_json::to_vec(message)?)?;
        let kind = match message {
            OutboxMessage::Mail(_) | OutboxMessage::Withheld(_) => OutboxKind::Mail,
            OutboxMessage::AccountDeleted { .. } => OutboxKind::AccountDeleted,
            OutboxMessage::SessionsChanged { .. } => OutboxKind::SessionsChanged,
        };
        let trace = miniapp_telemetry::trace::current_context();
        Ok(OutboxRow { id, kind, payload, trace, due_at: now, not_after: None, attempts: 0 })
    }

    /// The content, unless it was sealed with another secret or by a newer version.
    fn read(&self, stored: &OutboxRow) -> Option<OutboxMessage> {
        let plain = self.0.open(stored.id.as_bytes(), &stored.payload)?;
        serde_json::from_slice(&plain).ok()
    }
}

impl OutboxRow {
    /// It is pointless after `lifetime`.
    #[must_use]
    pub(crate) fn within(mut self, lifetime: Duration) -> Self {
        self.not_after = Some(self.due_at + lifetime);
        self
    }
}
