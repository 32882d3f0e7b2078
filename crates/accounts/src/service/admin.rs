//! Use cases of administrators.

use jiff::Timestamp;
use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::Clock;
use miniapp_types::account::{Account, AccountPage, AuditPage, Role};
use miniapp_types::page::{Page, cursor};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::Accounts;
use super::sign_in::identify;
use crate::api_key::ApiKey;
use crate::audit::{Action, AuditEntry, Caller};
use crate::config::TokenConfig;
use crate::error::Error;
use crate::keys::{KeyError, check_secrets};
use crate::operations::{DisabledSet, SetDisabled, SetRoles};
use crate::outbox::{OutboxCodec, OutboxMessage, OutboxRow};
use crate::secret::{PlatformSecrets, SecretError};
use crate::session::{Identity, Session};
use crate::store::{Store, StoreError};

impl Accounts {
    /// Rejects a caller who is not an administrator, and records the attempt.
    pub async fn require_admin(
        &self,
        actor: &Identity,
        action: Action,
        target: Option<Uuid>,
        caller: &Caller,
    ) -> Result<(), Error> {
        if actor.account.roles.contains(&Role::Admin) {
            return Ok(());
        }
        let mut entry = self.audit_entry(action, caller).by(&actor.account, actor.session);
        entry.account = target;
        self.audit_refusal(entry, Err(Code::Forbidden.into())).await
    }

    /// Returns a page of all accounts, newest first.
    pub async fn list(&self, wanted: Page) -> Result<AccountPage, Error> {
        let users = self.0.store.accounts(wanted.before, wanted.limit.saturating_add(1)).await?;
        let (users, next_cursor) = page(users, wanted.limit, |account| account.user_id);
        Ok(AccountPage { users, next_cursor })
    }

    /// Sets the roles of an account. Its access tokens are invalid at once; a refresh returns
    /// one with the new roles.
    pub async fn set_roles(
        &self,
        admin: &Identity,
        id: Uuid,
        roles: &[Role],
        caller: &Caller,
    ) -> Result<Account, Error> {
        let (entry, target) = self.admin_entry(Action::SetRoles, admin, id, caller).await?;
        let before = target.as_ref().map(|account| account.roles.as_slice());
        let entry = entry.with_roles(before, Some(roles));
        let event = self.sessions_changed(id)?;
        let set_roles =
            SetRoles { account: id, roles: roles.to_vec(), event, audit: entry.clone() };
        let (this, admin) = (self.clone(), admin.clone());
        let change = async move {
            let changed = this.transact_as(&admin, Some(Role::Admin), set_roles).await;
            let changed = changed.and_then(|changed| Ok(changed?));
            let account = this.audit_refusal(entry, changed).await?;
            // Not left to the outbox, where it would wait behind mails: that is for the case
            // that this process crashes first.
            let sessions = this.0.store.sessions(id).await.unwrap_or_default();
            let keys = this.0.store.api_keys(id, Timestamp::MAX).await.unwrap_or_default();
            let epochs = sessions.iter().map(Session::id_and_epoch);
            let epochs = epochs.chain(keys.iter().map(ApiKey::id_and_epoch));
            let active: Vec<_> = epochs.filter(|(_, epoch)| epoch.is_some()).collect();
            this.0.events.publish_all(active).await;
            this.0.wake.notify();
            Ok(account)
        };
        self.run_to_completion(change).await
    }

    /// Disables an account, which ends its sessions and API keys at once, or enables it.
    pub async fn set_disabled(
        &self,
        admin: &Identity,
        id: Uuid,
        disabled: bool,
        caller: &Caller,
    ) -> Result<Account, Error> {
        let action = if disabled { Action::DisableAccount } else { Action::EnableAccount };
        let (entry, _) = self.admin_entry(action, admin, id, caller).await?;
        let (event, now) = (self.sessions_changed(id)?, self.0.clock.now());
        let set_disabled = SetDisabled { account: id, disabled, now, event, audit: entry.clone() };
        let (this, admin) = (self.clone(), admin.clone());
        let change = async move {
            let changed = this.transact_as(&admin, Some(Role::Admin), set_disabled).await;
            let changed = changed.and_then(|changed| Ok(changed?));
            let DisabledSet { account, ended } = this.audit_refusal(entry, changed).await?;
            this.publish_ended(ended).await;
            Ok(account)
        };
        self.run_to_completion(change).await
    }

    /// An action of an administrator on an account, which may not exist.
    async fn admin_entry(
        &self,
        action: Action,
        admin: &Identity,
        target: Uuid,
        caller: &Caller,
    ) -> Result<(AuditEntry, Option<Account>), Error> {
        let mut entry = self.audit_entry(action, caller).by(&admin.account, admin.session);
        entry.account = Some(target);
        let account = self.0.store.account(target).await?;
        if let Some(account) = &account {
            entry = entry.about(account);
        }
        Ok((entry, account))
    }

    pub(super) fn sessions_changed(&self, account: Uuid) -> Result<OutboxRow, Error> {
        let event = OutboxMessage::SessionsChanged { account };
        Ok(self.0.codec.encode(&event, self.0.clock.now())?)
    }

    /// Records and logs a rejection that concerns the role `admin`.
    pub(super) async fn audit_refusal<T>(
        &self,
        entry: AuditEntry,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &result
            && let Some(code) = error.code()
            && let Some(entry) = self.0.audit_limit.admit(entry.rejected(code))
        {
            tracing::warn!(
                action = entry.action,
                %code,
                count = entry.count,
                actor.id = entry.actor.map(tracing::field::display),
                session.id = entry.session.map(tracing::field::display),
                user.id = entry.account.map(tracing::field::display),
                client.address = entry.ip,
                "request refused"
            );
            self.record(&entry).await;
        }
        result
    }

    /// Returns a page of the audit log, newest first.
    pub async fn audit_log(&self, wanted: Page) -> Result<AuditPage, Error> {
        let entries = self.0.store.audit_log(wanted.before, wanted.limit.saturating_add(1)).await?;
        let (entries, next_cursor) = page(entries, wanted.limit, |entry| entry.id);
        let entries = entries.into_iter().map(Into::into).collect();
        Ok(AuditPage { entries, next_cursor })
    }
}

/// Grants the administrator role to the account with the login or address, using only the
/// database. A running auth service publishes the change within about a second.
pub async fn grant_admin(
    config: &Config,
    store: &dyn Store,
    clock: &dyn Clock,
    login: &str,
) -> Result<Account, GrantError> {
    let tokens: TokenConfig = config.section()?;
    let secrets = PlatformSecrets::load_existing(&tokens, config.data_dir())?;
    check_secrets(store, &secrets).await?;
    let found = store.credentials(&identify(login)).await?;
    let not_found = || GrantError::NotFound(login.to_owned());
    let account = found.ok_or_else(not_found)?.account;
    if account.roles.contains(&Role::Admin) {
        return Ok(account);
    }
    let mut roles = account.roles.clone();
    roles.push(Role::Admin);
    let now = clock.now();
    let audit = AuditEntry::new(Action::SetRoles, now, &Caller::default());
    let event = OutboxMessage::SessionsChanged { account: account.user_id };
    let event = OutboxCodec::new(&secrets)?.encode(&event, now)?;
    let set_roles = SetRoles { account: account.user_id, roles, event, audit };
    store.transact(&set_roles).await?.map_err(|_| not_found())
}

#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("there is no account with the login {0}")]
    NotFound(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// Removes the extra item that was read to find out whether there is a next page.
fn page<T>(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> Uuid) -> (Vec<T>, Option<String>) {
    let limit = limit as usize;
    let has_more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| has_more);
    let next_cursor = last.map(|last| cursor(id(last)));
    (items, next_cursor)
}
