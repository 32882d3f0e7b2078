//! Engines by their URLs.

use std::sync::Arc;

use miniapp_config::{Database, Synchronous};
use miniapp_runtime::clock::Clock;
use tokio::sync::broadcast;

use crate::config::MailConfig;
use crate::mail::{InboxMail, InboxMailer, Mailer, SmtpMailer};
use crate::postgres::PostgresStore;
use crate::sqlite::SqliteStore;
use crate::store::{Store, StoreError};

/// The store that `database.url` names. A file is opened at once; a server may come later,
/// until when the store says that it is unavailable.
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

/// The mailer that `mail.url` names. A server may come later. `watchers` are told of each mail that stays in the
/// platform.
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
