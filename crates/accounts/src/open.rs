//! Stores and mailers by URL.

use std::sync::Arc;

use miniapp_config::{Database, Synchronous};
use miniapp_runtime::clock::Clock;
use tokio::sync::broadcast;

use crate::config::MailConfig;
use crate::inbox::InboxMailer;
use crate::mail::{InboxMail, Mailer, SmtpMailer};
use crate::sql::{PostgresStore, SqliteStore};
use crate::store::{Store, StoreError};

/// Opens the store of `database.url`. A file is opened at once. A server may become
/// available later; until then the store returns [`StoreError::Unavailable`].
pub async fn open_store(database: &Database) -> Result<Arc<dyn Store>, StoreError> {
    let url = &database.url;
    match url.scheme() {
        "sqlite" => {
            let fsync = database.synchronous == Synchronous::Full;
            Ok(Arc::new(SqliteStore::open(url.expose(), fsync).await?))
        }
        "postgres" | "postgresql" => Ok(Arc::new(PostgresStore::new(database)?)),
        other => Err(StoreError::Broken(format!("there is no store for {other}://"))),
    }
}

/// Opens the mailer of `mail.url`. A server may become available later. `watchers` receive
/// each mail that is stored in the inbox.
pub fn open_mailer(
    mail: &MailConfig,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    watchers: broadcast::Sender<InboxMail>,
) -> anyhow::Result<Arc<dyn Mailer>> {
    match mail.url.scheme() {
        "inbox" => Ok(Arc::new(InboxMailer::new(store, clock, watchers))),
        "smtp" | "smtps" => Ok(Arc::new(SmtpMailer::new(mail, clock)?)),
        other => anyhow::bail!("there is no mailer for {other}://"),
    }
}
