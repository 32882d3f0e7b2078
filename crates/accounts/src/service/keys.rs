//! Replacing the key that signs access tokens, for administrators of the database.

use jiff::Timestamp;
use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::Clock;

use crate::audit::{Action, AuditEntry, Caller};
use crate::config::TokenConfig;
use crate::keys::{self, KeyError, SHORT_LEAD};
use crate::operations::{ReplacedKeys, RotateKeys};
use crate::secret::{PlatformSecrets, SecretError};
use crate::store::{Store, StoreError};

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
/// as soon as a process has read it.
pub async fn rotate_keys(
    config: &Config,
    store: &dyn Store,
    clock: &dyn Clock,
    compromised: bool,
) -> Result<KeyRotation, RotateError> {
    let tokens: TokenConfig = config.section()?;
    let secrets = PlatformSecrets::load(&tokens, config.data_dir())?;
    keys::check_secrets(store, &secrets).await?;
    let now = clock.now();
    let signs_from = if compromised { now } else { now + SHORT_LEAD };
    let key = keys::generate(&secrets, signs_from)?;
    let kid = key.kid.clone();
    let audit = AuditEntry::new(Action::RotateKeys, now, &Caller::default());
    let replaced = store.transact(&RotateKeys { key, compromised, audit }).await?;
    Ok(KeyRotation { kid, signs_from, replaced, retires_at: signs_from + tokens.key_overlap })
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
