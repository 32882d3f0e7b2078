//! The outbox: mails and messages that are delivered after their cause has committed.
//!
//! A message commits in the same transaction as its cause and is deleted once its receiver
//! has accepted it, so it is delivered at least once. Its payload is encrypted, because a
//! mail may contain a code.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_types::trace::TraceContext;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::mail::Mail;
use crate::seal::{OtherSecret, Sealer};
use crate::secret::PlatformSecrets;

/// The payload of a message. The serialized names are those of stored messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "duty", rename_all = "snake_case")]
pub(crate) enum OutboxMessage {
    Mail(Mail),
    /// A mail that is not sent. Requests for an address without an account create it, so that
    /// they take the same time.
    #[serde(rename = "withheld")]
    WithheldMail(Mail),
    /// Tells consumers to delete the account's data.
    AccountDeleted {
        account: Uuid,
    },
    /// Tells consumers the current epochs of the account's sessions and API keys.
    SessionsChanged {
        account: Uuid,
    },
}

/// The kind of a message, which is stored in plain text.
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
    Mail,
    AccountDeleted,
    SessionsChanged,
}

/// Messages that are delivered independently of others: a mail server that is slow or silent must
/// not delay events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Mails,
    Events,
}

impl OutboxKind {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub id: Uuid,
    pub kind: OutboxKind,
    /// The encrypted [`OutboxMessage`].
    pub payload: Vec<u8>,
    /// The trace of the request that caused the message.
    pub trace: TraceContext,
    /// When the next attempt is due.
    pub due_at: Timestamp,
    /// After this time the message is abandoned.
    pub not_after: Option<Timestamp>,
    /// The number of earlier attempts.
    pub attempts: u32,
}

/// The encrypted part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPayload {
    /// The message.
    pub id: Uuid,
    pub payload: Vec<u8>,
}

/// The unfinished messages of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxBacklog {
    pub kind: OutboxKind,
    pub count: u64,
    /// When the oldest message was created.
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the message {0}")]
    OtherSecret(#[from] OtherSecret),
    #[error("the message was written by a newer version")]
    Unknown,
}

/// Encodes and decodes messages.
pub(crate) struct OutboxCodec(Sealer);

impl OutboxCodec {
    pub(crate) fn new(secrets: &PlatformSecrets) -> anyhow::Result<Self> {
        Ok(Self(Sealer::new(secrets, "outbox")?))
    }

    /// Encodes a message of the current request that is due at once.
    pub(crate) fn encode(
        &self,
        message: &OutboxMessage,
        now: Timestamp,
    ) -> anyhow::Result<OutboxRow> {
        let id = clock::id_at(now);
        let payload = self.0.seal(id.as_bytes(), &serde_json::to_vec(message)?)?;
        let kind = match message {
            OutboxMessage::Mail(_) | OutboxMessage::WithheldMail(_) => OutboxKind::Mail,
            OutboxMessage::AccountDeleted { .. } => OutboxKind::AccountDeleted,
            OutboxMessage::SessionsChanged { .. } => OutboxKind::SessionsChanged,
        };
        let trace = miniapp_telemetry::trace::current_context();
        Ok(OutboxRow { id, kind, payload, trace, due_at: now, not_after: None, attempts: 0 })
    }

    pub(crate) fn decode(&self, row: &OutboxRow) -> Result<OutboxMessage, DecodeError> {
        let plain = self.0.open(row.id.as_bytes(), &row.payload)?;
        serde_json::from_slice(&plain).map_err(|_| DecodeError::Unknown)
    }

    /// Whether payloads may have been encrypted with another secret than the current one.
    pub(crate) fn has_previous_secret(&self) -> bool {
        self.0.has_previous()
    }

    /// Encrypts a payload again that was encrypted with the previous secret. Returns `None` for
    /// others.
    pub(crate) fn reseal(&self, row: &SealedPayload) -> anyhow::Result<Option<Vec<u8>>> {
        self.0.reseal(row.id.as_bytes(), &row.payload)
    }
}

impl OutboxRow {
    #[must_use]
    pub(crate) fn expiring_after(mut self, lifetime: Duration) -> Self {
        self.not_after = Some(self.due_at + lifetime);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_names_are_stable() {
        let mail = || Mail {
            id: Uuid::nil(),
            to: String::new(),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
        };
        for (message, name) in [
            (OutboxMessage::Mail(mail()), "mail"),
            (OutboxMessage::WithheldMail(mail()), "withheld"),
            (OutboxMessage::AccountDeleted { account: Uuid::nil() }, "account_deleted"),
            (OutboxMessage::SessionsChanged { account: Uuid::nil() }, "sessions_changed"),
        ] {
            let value = serde_json::to_value(&message).expect("serializable");
            assert_eq!(value["duty"], name);
        }
    }
}
