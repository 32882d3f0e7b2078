//! Mails, and the port that sends them.

mod smtp;
mod template;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::code::is_code;

pub use smtp::SmtpMailer;
pub use template::MailTemplate;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The same for each attempt to send the mail.
    pub id: Uuid,
    pub to: String,
    /// Never contains a secret.
    pub subject: String,
    pub text: String,
    pub html: String,
}

impl Mail {
    /// Returns the code in the text, if there is one.
    pub fn code(&self) -> Option<&str> {
        self.text.lines().map(str::trim).find(|line| is_code(line))
    }
}

impl std::fmt::Debug for Mail {
    /// Omits the text, which may contain a code.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, subject, .. } = self;
        f.debug_struct("Mail").field("id", id).field("subject", subject).finish_non_exhaustive()
    }
}

/// A mail that was stored instead of sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMail {
    pub at: Timestamp,
    pub mail: Mail,
}

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A retry may succeed.
    #[error("the mail can't be sent now: {0}")]
    Temporary(String),
    /// The recipient or the mail itself was rejected.
    #[error("the mail was rejected: {0}")]
    Permanent(String),
}

/// Sends mail. The same mail may be sent more than once.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Hands the mail over. On success the receiver is responsible for it.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;

    /// Checks whether mail can be sent.
    async fn ping(&self) -> Result<(), MailError>;
}

#[async_trait]
impl<M: Mailer + ?Sized> Mailer for Arc<M> {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        (**self).send(mail).await
    }

    async fn ping(&self) -> Result<(), MailError> {
        (**self).ping().await
    }
}
