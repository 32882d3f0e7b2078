//! Replacing the key that signs access tokens, for administrators of the database.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::Clock;

use crate::audit::{Action, AuditEntry, Caller};
use crate::config::TokenConfig;
use crate::keys::{self, KeyError, SHORT_LEAD};
use crate::operations::{ReplacedKeys, RotateKeys};
use crate::outbox::{OutboxCodec, OutboxMessage, OutboxRow};
use crate::secret::{PlatformSecrets, SecretError};
use crate::store::{Store, StoreError};

/// Older events about deleted accounts have been received.
const DELETION_WINDOW: Duration = Duration::from_hours(7 * 24);

/// A new key, and those before it.
#[derive(Clone, Debug)]
pub struct KeyRotation {
    pub kid: String,
    pub signs_from: Timestamp,
    pub replaced: ReplacedKeys,
    /// Until when the replaced keys that were not removed verify tokens.
    pub retires_at: Timestamp,
}

/// Replaces the key that signs access tokens, using only the database.
///
/// The new key is published at once and signs when every verifier has it. The keys before it verify
/// their tokens for `auth.key_overlap` after that, as after a scheduled rotation. If they are
/// compromised they are removed instead, so that their tokens become invalid, and the new key signs
/// as soon as a process has read it. Recent deletions of accounts are published again: consumers
/// refuse what a removed key has signed.
pub async fn rotate_keys(
    config: &Config,
    store: &dyn Store,
    clock: &dyn Clock,
    compromised: bool,
) -> Result<KeyRotation, RotateError> {
    let tokens: TokenConfig = config.section()?;
    let secrets = PlatformSecrets::load_existing(&tokens, config.data_dir())?;
    keys::check_secrets(store, &secrets).await?;
    let now = clock.now();
    let signs_from = if compromised { now } else { now + SHORT_LEAD };
    let key = keys::generate(&secrets, signs_from)?;
    let kid = key.kid.clone();
    let audit = AuditEntry::new(Action::RotateKeys, now, &Caller::default());
    let events = if compromised { deletions(store, &secrets, now).await? } else { Vec::new() };
    let rotate = RotateKeys { key, compromised, events, audit };
    let replaced = store.transact(&rotate).await?;
    Ok(KeyRotation { kid, signs_from, replaced, retires_at: signs_from + tokens.key_overlap })
}

/// Returns events about the accounts that were deleted lately.
async fn deletions(
    store: &dyn Store,
    secrets: &PlatformSecrets,
    now: Timestamp,
) -> Result<Vec<OutboxRow>, RotateError> {
    let codec = OutboxCodec::new(secrets)?;
    let deleted = store.deleted_since(now - DELETION_WINDOW).await?.into_iter();
    let events =
        deleted.map(|account| codec.encode(&OutboxMessage::AccountDeleted { account }, now));
    Ok(events.collect::<Result<_, _>>()?)
}

#[derive(Debug, thiserror::Error)]
pub enum RotateError {
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
