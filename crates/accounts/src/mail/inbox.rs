//! `inbox://`: mail that stays in the platform, for work without a mail server.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_runtime::clock::Clock;
use tokio::sync::broadcast;

use super::{Mail, MailError, Mailer};
use crate::store::Store;

/// A mail that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMail {
    /// When it was sent.
    pub at: Timestamp,
    /// The mail.
    pub mail: Mail,
}

/// Keeps mail in the store and tells whoever watches.
pub struct InboxMailer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    watchers: broadcast::Sender<InboxMail>,
}

impl InboxMailer {
    /// Keeps mail in `store`, and tells `watchers` of each.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        watchers: broadcast::Sender<InboxMail>,
    ) -> Self {
        Self { store, clock, watchers }
    }
}

#[async_trait]
impl Mailer for InboxMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let kept = InboxMail { at: self.clock.now(), mail: mail.clone() };
        let later = |error: crate::StoreError| MailError::Later(error.to_string());
        if self.store.add_inbox_mail(&kept).await.map_err(later)? {
            // That nobody watches is fine.
            let _ = self.watchers.send(kept);
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), MailError> {
        self.store.ping().await.map_err(|error| MailError::Later(error.to_string()))
    }
}
