//! `inbox://`: mail that is stored instead of sent, for use without a mail server.

use std::sync::Arc;

use async_trait::async_trait;
use miniapp_runtime::clock::Clock;
use tokio::sync::broadcast;

use crate::mail::{InboxMail, Mail, MailError, Mailer};
use crate::store::{Store, StoreError};

/// Stores mail and notifies watchers.
pub struct InboxMailer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    watchers: broadcast::Sender<InboxMail>,
}

impl InboxMailer {
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
        let inbox_mail = InboxMail { at: self.clock.now(), mail: mail.clone() };
        if self.store.add_inbox_mail(&inbox_mail).await.map_err(|error| temporary(&error))? {
            // Fails without watchers.
            let _ = self.watchers.send(inbox_mail);
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), MailError> {
        self.store.ping().await.map_err(|error| temporary(&error))
    }
}

fn temporary(error: &StoreError) -> MailError {
    MailError::Temporary(error.to_string())
}
