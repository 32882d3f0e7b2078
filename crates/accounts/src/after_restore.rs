//! Makes a restored database safe to use.
//!
//! A backup contains what was revoked since: sessions, API keys, signing keys, codes and accounts.
//! The past must not become valid again.

use std::collections::BTreeSet;

use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::Clock;
use uuid::Uuid;

use crate::audit::{Action, AuditEntry, Caller};
use crate::config::TokenConfig;
use crate::keys::{KeyError, check_secrets};
use crate::operations::ReplayDeletion;
use crate::outbox::{OutboxCodec, OutboxMessage};
use crate::secret::{PlatformSecrets, SecretError};
use crate::store::{Revoked, Store, StoreError};

/// Deletions that are read at a time.
const PAGE_SIZE: u32 = 1000;

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredAccounts {
    /// The number of sessions that were ended.
    pub sessions_ended: u64,
    /// The number of API keys that were revoked.
    pub api_keys_revoked: u64,
    /// Accounts that the backup had and that were deleted again.
    pub deleted: Vec<Uuid>,
}

#[derive(Debug, thiserror::Error)]
pub enum AfterRestoreError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// Returns the accounts that were deleted, as far as the store knows.
pub async fn deleted_accounts(store: &dyn Store) -> Result<BTreeSet<Uuid>, StoreError> {
    let (mut deleted, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.deleted_accounts(after, PAGE_SIZE).await?;
        let Some(last) = page.last() else { return Ok(deleted) };
        after = Some(*last);
        deleted.extend(page);
    }
}

/// Ends all sessions of a restored store, revokes its API keys, and deletes its signing keys, codes
/// and outbox. Deletes the accounts in `deleted`, and those whose deletion the store has recorded.
/// No process may use the store meanwhile. It can be repeated.
///
/// # Errors
///
/// Returns [`KeyError::OtherSecret`] if the configured secret is not the one of the store, unless
/// it `is_new`.
pub async fn after_restore(
    config: &Config,
    store: &dyn Store,
    clock: &dyn Clock,
    deleted: &BTreeSet<Uuid>,
    is_new: bool,
) -> Result<RestoredAccounts, AfterRestoreError> {
    let tokens: TokenConfig = config.section()?;
    let secrets = if is_new {
        PlatformSecrets::load(&tokens, config.data_dir())?
    } else {
        PlatformSecrets::load_existing(&tokens, config.data_dir())?
    };
    if !is_new {
        check_secrets(store, &secrets).await?;
    }
    let codec = OutboxCodec::new(&secrets)?;
    let now = clock.now();
    let Revoked { sessions, api_keys } = store.revoke_all(now).await?;
    let mut restored = RestoredAccounts {
        sessions_ended: sessions,
        api_keys_revoked: api_keys,
        deleted: Vec::new(),
    };
    let mut deleted = deleted - &deleted_accounts(store).await?;
    deleted.extend(store.returned_accounts().await?);
    for account in deleted {
        let event = codec.encode(&OutboxMessage::AccountDeleted { account }, now)?;
        let audit = AuditEntry::new(Action::DeleteAccount, now, &Caller::default());
        if store.transact(&ReplayDeletion { account, now, event, audit }).await? {
            restored.deleted.push(account);
        }
    }
    store.append_audit(&AuditEntry::new(Action::Restore, now, &Caller::default())).await?;
    Ok(restored)
}
