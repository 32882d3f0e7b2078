//! Mail: what is written, and the port through which it leaves.

mod compose;
mod inbox;
mod smtp;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use compose::Letter;
pub use inbox::{InboxMail, InboxMailer};
pub use smtp::SmtpMailer;

/// A mail, ready to be sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Its id; a mail that is sent twice keeps it.
    pub id: Uuid,
    /// The address that it goes to.
    pub to: String,
    /// The subject, which never holds a secret.
    pub subject: String,
    /// The text, for programs that show text.
    pub text: String,
    /// The same for programs that show HTML.
    pub html: String,
}

impl Mail {
    /// The code in it, if it brings one.
    pub fn code(&self) -> Option<&str> {
        let is_code = |line: &&str| line.len() == 6 && line.bytes().all(|b| b.is_ascii_digit());
        self.text.lines().map(str::trim).find(is_code)
    }
}

impl std::fmt::Debug for Mail {
    /// Without its text, which may hold a code.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, subject, .. } = self;
        f.debug_struct("Mail").field("id", id).field("subject", subject).finish_non_exhaustive()
    }
}

/// Why a mail didn't leave.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It may go later.
    #[error("the mail can't be sent now: {0}")]
    Later(String),
    /// It never will: the address or the mail itself was refused.
    #[error("the mail was refused: {0}")]
    Refused(String),
}

/// Sends mail. Sending the same mail twice is allowed and does as little harm as it can.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Gives the mail to someone who is responsible for it from then on.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;

    /// Whether mail could be sent now.
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
