//! From a password or a refresh token to tokens.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_token::{Claims, ISSUER};
use miniapp_types::account::{Account, Secret, Tokens};
use miniapp_types::problem::Code;
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use super::Accounts;
use crate::audit::{Action, Caller, Entry};
use crate::email::Email;
use crate::error::Error;
use crate::login;
use crate::metrics;
use crate::password::{Hash, Password, Turn};
use crate::session::{Identity, NewSession, RefreshHash, Rotation, new_refresh_token};
use crate::store::{Credentials, FailureKey, Identifier};

/// How long failed sign-ins count.
pub(crate) const FAILURE_WINDOW: Duration = Duration::from_mins(15);

impl Accounts {
    /// Begins a session. An unknown login and a wrong password are told alike, and take
    /// the same time.
    pub async fn sign_in(
        &self,
        login: &str,
        password: &Secret,
        caller: &Caller,
    ) -> Result<Tokens, Error> {
        let signed_in = self.try_sign_in(login, password, caller).await;
        metrics::signed_in(&signed_in);
        signed_in
    }

    async fn try_sign_in(
        &self,
        login: &str,
        password: &Secret,
        caller: &Caller,
    ) -> Result<Tokens, Error> {
        // Whoever waits here is one of few, so that the failures counted below can't be
        // outrun by many tries at once.
        let turn = self.0.passwords.turn().await?;
        let found = self.0.store.credentials(&identify(login)).await?;
        let mut entry = self.entry(Action::SignIn, caller);
        if let Some(Credentials { account, .. }) = &found {
            entry = entry.about(account);
        }
        let key = match &found {
            Some(found) => failure_key(&found.account),
            None => unknown_key(login),
        };
        if let Err(refused) = self.check_failures(&key).await {
            return self.noting(entry, Err(refused)).await;
        }
        let expected = found.as_ref().map(|found| &found.password);
        let password = Password::typed(password.expose());
        let is_right = turn.verify(&password, expected).await?;
        let Some(Credentials { account, password }) = found.filter(|_| is_right) else {
            let entry = entry.refused(Code::CredentialsInvalid);
            self.0.store.note_failure(&key, entry).await?;
            return Err(Code::CredentialsInvalid.into());
        };
        let (this, caller) = (self.clone(), caller.clone());
        let open = async move { this.open_session(&account, &password, &key, entry, caller).await };
        self.to_the_end(open).await
    }

    /// Gets a session's next tokens; those before are dead. A refresh token that comes a
    /// second time is in two hands, so it ends the session, without exception for
    /// clients that repeat themselves.
    pub async fn refresh(&self, token: &Secret, caller: &Caller) -> Result<Tokens, Error> {
        let (this, token, caller) = (self.clone(), token.clone(), caller.clone());
        let rotated = self.to_the_end(async move { this.rotate(&token, &caller).await }).await;
        metrics::refreshed(&rotated);
        rotated
    }

    async fn rotate(&self, token: &Secret, caller: &Caller) -> Result<Tokens, Error> {
        let entry = self.entry(Action::Refresh, caller);
        let now = self.0.clock.now();
        let next = new_refresh_token()?;
        let (used_hash, next_hash) = (RefreshHash::of(token), RefreshHash::of(&next));
        let rotation = self.0.store.rotate_session(
            &used_hash,
            &next_hash,
            now,
            now + self.0.settings.refresh_ttl,
            entry.clone(),
        );
        let refused = match rotation.await? {
            Rotation::Rotated { session, account } => {
                self.0.news.changed(session.id, session.epoch).await;
                return self.tokens(&account, session.id, session.epoch, next, now);
            }
            Rotation::Reused { session, ended } => {
                if ended {
                    self.0.news.ended([session]).await;
                }
                Code::TokenReused
            }
            Rotation::Ended => Code::TokenRevoked,
            Rotation::Expired => Code::TokenExpired,
            Rotation::Unknown => Code::TokenInvalid,
        };
        self.noting(entry, Err(refused.into())).await
    }

    /// Who an access token stands for, by the token and by its session.
    pub async fn authenticate(&self, token: &str) -> Result<Identity, Error> {
        let claims = self.0.keys.verify(token)?;
        match self.0.store.session(claims.sid).await? {
            Some((session, account))
                if session.epoch == claims.epoch && session.account == claims.sub =>
            {
                Ok(Identity { account, session: session.id, expires: claims.exp })
            }
            _ => Err(Code::TokenRevoked.into()),
        }
    }

    /// Waits for a turn to check the password of an account, unless that failed too
    /// often lately.
    pub(super) async fn turn_for(&self, account: &Account) -> Result<Turn, Error> {
        let turn = self.0.passwords.turn().await?;
        self.check_failures(&failure_key(account)).await?;
        Ok(turn)
    }

    async fn check_failures(&self, key: &FailureKey) -> Result<(), Error> {
        let limit = self.0.settings.sign_in_failures;
        if limit == 0 {
            return Ok(());
        }
        let now = self.0.clock.now();
        let failures = self.0.store.failures(key, now - FAILURE_WINDOW, limit).await?;
        match failures.last() {
            Some(oldest) if failures.len() >= limit as usize => {
                let wait = (*oldest + FAILURE_WINDOW).duration_since(now);
                let retry_after = wait.try_into().unwrap_or(Duration::ZERO);
                Err(Error::TooOften { retry_after })
            }
            _ => Ok(()),
        }
    }

    async fn open_session(
        &self,
        account: &Account,
        password: &Hash,
        failures: &FailureKey,
        entry: Entry,
        caller: Caller,
    ) -> Result<Tokens, Error> {
        let now = self.0.clock.now();
        let refresh = new_refresh_token()?;
        let new = NewSession {
            id: clock::id_at(now),
            account: account.user_id,
            refresh: RefreshHash::of(&refresh),
            now,
            expires_at: now + self.0.settings.refresh_ttl,
            caller,
            most: self.0.settings.sessions_per_user,
        };
        let id = new.id;
        let opened = self.0.store.open_session(new, password, failures, entry.clone()).await?;
        let Some(ended) = opened else {
            // The password was changed while it was being checked.
            return self.noting(entry, Err(Code::CredentialsInvalid.into())).await;
        };
        self.0.news.changed(id, FIRST_EPOCH).await;
        self.0.news.ended(ended).await;
        self.tokens(account, id, FIRST_EPOCH, refresh, now)
    }

    fn tokens(
        &self,
        account: &Account,
        session: Uuid,
        epoch: u32,
        refresh_token: Secret,
        now: Timestamp,
    ) -> Result<Tokens, Error> {
        let (access_ttl, refresh_ttl) = (self.0.settings.access_ttl, self.0.settings.refresh_ttl);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: account.user_id,
            sid: session,
            epoch,
            login: account.login.clone(),
            roles: account.roles.clone(),
            iat: now.as_second(),
            exp: (now + access_ttl).as_second(),
            jti: clock::id_at(now),
        };
        Ok(Tokens {
            auth_token: Secret::new(self.0.keys.sign(&claims)?),
            refresh_token,
            token_type: "Bearer".to_owned(),
            expires_in: access_ttl.as_secs(),
            refresh_expires_in: refresh_ttl.as_secs(),
            user_name: account.login.clone(),
            email: account.email.clone(),
        })
    }
}

/// A session's epoch when it begins.
pub const FIRST_EPOCH: u32 = 1;

/// A login has no `@`, so that what is neither belongs to nobody.
pub(super) fn identify(login: &str) -> Identifier {
    match Email::parse(login) {
        Some(email) => Identifier::Email(email),
        None => Identifier::LoginKey(login::key_of(login)),
    }
}

pub(super) fn failure_key(account: &Account) -> FailureKey {
    hash(b"account", account.user_id.as_bytes())
}

/// Unknown names are counted too: who is refused can't tell that they are unknown.
fn unknown_key(login: &str) -> FailureKey {
    hash(b"unknown", login::key_of(login).as_bytes())
}

fn hash(kind: &[u8], name: &[u8]) -> FailureKey {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &[kind, name].join(&0)).as_ref());
    key
}
