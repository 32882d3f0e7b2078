//! What administrators do with the accounts of all.

use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::Clock;
use miniapp_types::account::{Account, AccountPage, AuditPage, Role};
use miniapp_types::page::{Page, cursor};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::Accounts;
use super::sign_in::identify;
use crate::audit::{Action, Caller, Entry};
use crate::config::TokenConfig;
use crate::error::Error;
use crate::outbox::{OutboxCodec, OutboxMessage};
use crate::secret::{PlatformSecret, SecretError};
use crate::session::Session;
use crate::store::{Store, StoreError};

impl Accounts {
    /// A page of the accounts, newest first.
    pub async fn list(&self, wanted: Page) -> Result<AccountPage, Error> {
        let users = self.0.store.accounts(wanted.before, wanted.limit.saturating_add(1)).await?;
        let (users, next_cursor) = page(users, wanted.limit, |account| account.user_id);
        Ok(AccountPage { users, next_cursor })
    }

    /// Changes what an account may do. Its access tokens are invalid at once; the next
    /// ones, got by a refresh, say what it may do now.
    pub async fn set_roles(
        &self,
        id: Uuid,
        roles: &[Role],
        caller: &Caller,
    ) -> Result<Account, Error> {
        let account = self.0.store.account(id).await?.ok_or(Code::UserNotFound)?;
        let audit = self.entry(Action::SetRoles, caller).about(&account);
        let news = OutboxMessage::SessionsChanged { account: id };
        let news = self.0.codec.write(&news, self.0.clock.now())?;
        let (this, roles) = (self.clone(), roles.to_vec());
        let change = async move {
            let changed = this.0.store.set_roles(id, &roles, news, audit).await?;
            // The message would wait behind mails; it is for a process that ends before this.
            let sessions = this.0.store.sessions(id).await.unwrap_or_default();
            let active =
                sessions.iter().map(Session::standing).filter(|(_, epoch)| epoch.is_some());
            this.0.news.publish_all(active.collect::<Vec<_>>()).await;
            this.0.wake.notify_one();
            changed.ok_or(Error::Refused(Code::UserNotFound))
        };
        self.to_the_end(change).await
    }

    /// A page of the audit log, newest first.
    pub async fn audit_log(&self, wanted: Page) -> Result<AuditPage, Error> {
        let entries = self.0.store.audit_log(wanted.before, wanted.limit.saturating_add(1)).await?;
        let (entries, next_cursor) = page(entries, wanted.limit, |entry| entry.id);
        let entries = entries.into_iter().map(Into::into).collect();
        Ok(AuditPage { entries, next_cursor })
    }
}

/// Makes the account with the login or address an administrator, on the database alone.
/// An auth service that runs on it tells the news within a second or so.
pub async fn grant_admin(
    config: &Config,
    store: &dyn Store,
    clock: &dyn Clock,
    login: &str,
) -> Result<Account, GrantError> {
    let tokens: TokenConfig = config.section()?;
    let secret = PlatformSecret::load(tokens.secret.as_ref(), config.data_dir())?;
    let found = store.credentials(&identify(login)).await?;
    let unknown = || GrantError::Unknown(login.to_owned());
    let account = found.ok_or_else(unknown)?.account;
    if account.roles.contains(&Role::Admin) {
        return Ok(account);
    }
    let mut roles = account.roles.clone();
    roles.push(Role::Admin);
    let now = clock.now();
    let audit = Entry::new(Action::SetRoles, now, &Caller::default()).about(&account);
    let news = OutboxMessage::SessionsChanged { account: account.user_id };
    let news = OutboxCodec::new(&secret)?.write(&news, now)?;
    store.set_roles(account.user_id, &roles, news, audit).await?.ok_or_else(unknown)
}

/// Why nobody was made an administrator.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// There is no such account.
    #[error("there is no account with the login {0}")]
    Unknown(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that doesn't happen.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// Cuts off the one item that tells that there is a next page.
fn page<T>(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> Uuid) -> (Vec<T>, Option<String>) {
    let limit = limit as usize;
    let has_more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| has_more);
    let next_cursor = last.map(|last| cursor(id(last)));
    (items, next_cursor)
}
