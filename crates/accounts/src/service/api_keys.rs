//! Creating, listing, revoking and checking API keys.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_token::{check_api_key, generate_api_key, shown_prefix};
use miniapp_types::account::{self, ApiKeys, Secret, TokenInfo};
use miniapp_types::problem::Code;
use tokio::time::timeout;
use tracing::Instrument as _;
use uuid::Uuid;

use super::Accounts;
use crate::api_key::NewApiKey;
use crate::audit::{Action, Caller};
use crate::error::Error;
use crate::operations::{CreateApiKey, CreateKeyOutcome, RevokeApiKey};
use crate::password::Busy;
use crate::session::Identity;
use crate::token_hash::TokenHash;

/// How many keys an account may create in [`CREATION_WINDOW`]. Revoked keys stay stored for some
/// time, so this bounds their number.
const CREATION_LIMIT: u32 = 200;
const CREATION_WINDOW: Duration = Duration::from_hours(24);
/// How long a check of a key waits for others to end. The API waits for two seconds.
const LOOKUP_WAIT: Duration = Duration::from_secs(1);
/// A use is recorded unless one was recorded within this time.
const USE_INTERVAL: Duration = Duration::from_secs(50);

impl Accounts {
    /// Creates an API key of the caller. The result is the only place where the key is shown.
    pub async fn create_api_key(
        &self,
        owner: &Identity,
        request: account::CreateApiKey,
        caller: &Caller,
    ) -> Result<account::NewApiKey, Error> {
        let account::CreateApiKey { name, scopes, expires_at } = request;
        let now = self.0.clock.now();
        if expires_at.is_some_and(|at| at.as_second() <= now.as_second()) {
            return Err(Error::invalid_field("expiresAt", "must be in the future"));
        }
        let key = generate_api_key()?;
        let new = NewApiKey {
            id: clock::id_at(now),
            account: owner.account.user_id,
            hash: TokenHash::of(&key),
            name,
            prefix: shown_prefix(&key).to_owned(),
            scopes,
            created_at: now,
            expires_at,
        };
        let entry = self.owner_entry(Action::CreateApiKey, owner, caller).about_key(new.id);
        let create = CreateApiKey {
            key: new.clone(),
            limit: self.0.settings.api_keys_per_user,
            window_start: now - CREATION_WINDOW,
            window_limit: CREATION_LIMIT,
            audit: entry.clone(),
        };
        let created = match self.transact_as(owner, None, create).await {
            Ok(CreateKeyOutcome::Created) => Ok(()),
            Ok(CreateKeyOutcome::Rejected(code)) => Err(code.into()),
            Ok(CreateKeyOutcome::TooMany(since)) => Err(too_many(since, now)),
            Err(error) => Err(error),
        };
        self.audit_rejection(entry, created).await?;
        let NewApiKey { id, name, prefix, scopes, created_at, expires_at, .. } = new;
        let api_key = account::ApiKey {
            id,
            name,
            prefix,
            scopes,
            created_at,
            expires_at,
            last_used_at: None,
        };
        Ok(account::NewApiKey { api_key, key })
    }

    /// Returns the caller's keys that were not revoked.
    pub async fn api_keys(&self, owner: &Identity) -> Result<ApiKeys, Error> {
        let stored = self.0.store.api_keys(owner.account.user_id, Timestamp::MAX).await?;
        Ok(ApiKeys { api_keys: stored.into_iter().map(Into::into).collect() })
    }

    /// Revokes one of the caller's keys.
    pub async fn revoke_api_key(
        &self,
        owner: &Identity,
        id: Uuid,
        caller: &Caller,
    ) -> Result<(), Error> {
        let entry = self.owner_entry(Action::RevokeApiKey, owner, caller).about_key(id);
        let (account, now) = (owner.account.user_id, self.0.clock.now());
        let event = self.sessions_changed(account)?;
        let revoke = RevokeApiKey { account, key: id, now, event, audit: entry.clone() };
        let (this, owner) = (self.clone(), owner.clone());
        let revoke = async move {
            let revoked = match this.transact_as(&owner, None, revoke).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Code::ApiKeyNotFound.into()),
                Err(error) => Err(error),
            };
            this.audit_rejection(entry, revoked).await?;
            this.publish_ended(vec![id]).await;
            Ok(())
        };
        self.run_to_completion(revoke).await
    }

    /// Returns what an API key stands for, and records its use.
    pub(super) async fn introspect_api_key(
        &self,
        key: &str,
        caller: &Caller,
    ) -> Result<TokenInfo, Error> {
        check_api_key(key)?;
        let hash = TokenHash::of(&Secret::new(key));
        let permit = timeout(LOOKUP_WAIT, self.0.key_lookups.acquire(caller.network())).await;
        let permit = permit.ok().flatten().ok_or(Busy)?;
        let found = self.0.store.api_key(&hash).await?;
        drop(permit);
        let (key, owner) = found.ok_or(Code::TokenInvalid)?;
        let (id, used_at, now) = (key.id, key.last_used_at, self.0.clock.now());
        let info = key.introspect(owner, now)?;
        if used_at.is_none_or(|at| at <= now - USE_INTERVAL || at > now + USE_INTERVAL) {
            self.record_use(id, now);
        }
        Ok(info)
    }

    /// Records the use of a key, while the caller goes on.
    fn record_use(&self, id: Uuid, now: Timestamp) {
        // Without a permit the store is slow, and a later use is recorded.
        let Ok(permit) = self.0.key_uses.clone().try_acquire_owned() else { return };
        let this = self.clone();
        let record = async move {
            let _permit = permit;
            let (since, until) = (now - USE_INTERVAL, now + USE_INTERVAL);
            if let Err(error) = this.0.store.touch_api_key(id, now, since, until).await {
                tracing::debug!(%error, api_key.id = %id, "failed to record the use of a key");
            }
        };
        tokio::spawn(record.in_current_span());
    }
}

fn too_many(since: Timestamp, now: Timestamp) -> Error {
    let wait = (since + CREATION_WINDOW).duration_since(now);
    let retry_after = wait.try_into().unwrap_or(Duration::ZERO).min(CREATION_WINDOW);
    Error::TooManyAttempts { retry_after }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use miniapp_broker::MemoryBroker;
    use miniapp_config::Config;
    use miniapp_runtime::clock::ManualClock;
    use tokio::sync::broadcast;
    use tokio::time::{pause, resume};

    use super::super::KEY_LOOKUPS;
    use super::*;
    use crate::open::{open_mailer, open_store};
    use crate::service::Dependencies;

    #[tokio::test]
    async fn few_keys_are_read_at_a_time() {
        let files = tempfile::tempdir().expect("a directory");
        let directory = files.path().display().to_string();
        let settings = [("MINIAPP__DATA_DIR".to_owned(), directory)];
        let config = Config::load_from(None, settings).expect("a configuration");
        let store = open_store(&config.section().expect("a section")).await.expect("a store");
        let clock = Arc::new(ManualClock::default());
        let (watchers, _) = broadcast::channel(1);
        let mail = config.section().expect("a section");
        let mailer = open_mailer(&mail, store.clone(), clock.clone(), watchers).expect("a mailer");
        let broker = Arc::new(MemoryBroker::new());
        let dependencies = Dependencies { service: "auth", store, broker, mailer, clock };
        let accounts = Accounts::open(&config, dependencies).await.expect("accounts");
        let check = async |client: [u8; 4]| {
            let key = generate_api_key().expect("random bits");
            let ip = Some(Ipv4Addr::from(client).into());
            let caller = Caller { ip, user_agent: None };
            accounts.introspect(key.expose(), &caller).await.expect_err("an unknown key")
        };
        let mut held = Vec::new();
        for _ in 0..KEY_LOOKUPS {
            held.push(accounts.0.key_lookups.acquire(None).await.expect("a permit"));
        }
        pause();
        assert!(matches!(check([192, 0, 2, 1]).await, Error::Busy(_)), "not limited");
        resume();
        held.pop();
        for client in [[192, 0, 2, 1], [192, 0, 2, 2]] {
            assert!(matches!(check(client).await, Error::Rejected(Code::TokenInvalid)));
        }
    }
}
