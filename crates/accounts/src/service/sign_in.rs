//! Issuing tokens for a password or a refresh token, and checking them.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock::{self, MAX_SKEW};
use miniapp_token::{Claims, ISSUER};
use miniapp_types::account::{Account, Secret, Tokens};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::Accounts;
use crate::audit::{Action, AuditEntry, Caller};
use crate::email::Email;
use crate::error::Error;
use crate::failure_key::sign_in_key;
use crate::login::LoginKey;
use crate::mail::MailTemplate;
use crate::metrics::{self, RefreshKind};
use crate::operations::{OpenSession, RecordFailure, Refreshed, RotateSession, Rotation};
use crate::password::{Client, Password};
use crate::refresh_token::Salt;
use crate::session::{FIRST_EPOCH, Identity, NewSession, Session};
use crate::store::{Credentials, FailureKey, Identifier};
use crate::token_hash::{TokenHash, new_token};

/// How long failed sign-ins count.
const FAILURE_WINDOW: Duration = Duration::from_mins(15);

impl Accounts {
    /// Opens a session. An unknown login and a wrong password give the same error after the
    /// same time. Only the right password reveals that an account is disabled.
    pub async fn sign_in(
        &self,
        login: &str,
        password: &Secret,
        client: &str,
        caller: &Caller,
    ) -> Result<Tokens, Error> {
        let signed_in = self.try_sign_in(login, password, client, caller).await;
        metrics::record_sign_in(&signed_in);
        signed_in
    }

    async fn try_sign_in(
        &self,
        login: &str,
        password: &Secret,
        client: &str,
        caller: &Caller,
    ) -> Result<Tokens, Error> {
        // The permit comes first: it bounds the concurrent attempts that could pass the check
        // of failures before any of them is recorded.
        let permit = self.0.hasher.acquire(Client::Network(caller.network())).await?;
        let typed = identify(login);
        let key = sign_in_key(&typed, caller.network());
        let found = self.0.store.credentials(&typed).await?;
        let mut entry = self.audit_entry(Action::SignIn, caller);
        if let Some(Credentials { account, .. }) = &found {
            entry = entry.about(account);
        }
        if let Err(error) = self.check_failures(&key).await {
            return self.audit_rejection(entry, Err(error)).await;
        }
        let expected = found.as_ref().map(|found| &found.password);
        let password = Password::new(password.expose());
        let is_valid = permit.verify(&password, expected).await?;
        let Some(Credentials { account, password, .. }) = found.filter(|_| is_valid) else {
            let audit = entry.rejected(Code::CredentialsInvalid);
            self.0.store.transact(&RecordFailure { key, audit }).await?;
            return Err(Code::CredentialsInvalid.into());
        };
        let refresh = new_token()?;
        let now = self.0.clock.now();
        let session = NewSession {
            id: clock::id_at(now),
            account: account.user_id,
            client: client.to_owned(),
            refresh: TokenHash::of(&refresh),
            now,
            expires_at: now + self.0.settings.refresh_ttl,
            caller: caller.clone(),
            limit: self.0.settings.sessions_per_user,
        };
        let audit = entry.clone().by(&account, session.id);
        let open = OpenSession { session, password, failures: key, audit };
        let this = self.clone();
        let opened = async move { this.open_session(&account, open, refresh, entry).await };
        self.run_to_completion(opened).await
    }

    /// Returns a session's next tokens and invalidates the previous ones. For a token that was just
    /// replaced it returns the same successor again, see [`RotateSession`]. Any other token that is
    /// used a second time ends the session: two clients have it.
    pub async fn refresh(&self, token: &Secret, caller: &Caller) -> Result<Tokens, Error> {
        let (this, token, caller) = (self.clone(), token.clone(), caller.clone());
        let rotate = async move { this.rotate(&token, &caller).await };
        let rotated = self.run_to_completion(rotate).await;
        metrics::record_refresh(&rotated);
        rotated.map(|(tokens, _)| tokens)
    }

    async fn rotate(
        &self,
        token: &Secret,
        caller: &Caller,
    ) -> Result<(Tokens, RefreshKind), Error> {
        let now = self.0.clock.now();
        let notice = |mailbox: &str| Ok(self.mail(mailbox, &MailTemplate::TokenReused)?);
        let rotate = RotateSession {
            token: token.clone(),
            salt: Salt::random()?,
            grace: self.0.settings.refresh_grace,
            now,
            expires_at: now + self.0.settings.refresh_ttl,
            notice: &notice,
            audit: self.audit_entry(Action::Refresh, caller),
        };
        let (refreshed, kind) = match self.0.store.transact(&rotate).await? {
            Rotation::Rotated(refreshed) => (refreshed, RefreshKind::Rotated),
            Rotation::Reissued(refreshed) => (refreshed, RefreshKind::Reissued),
            Rotation::Reused { session, ended } => {
                if ended {
                    self.publish_ended(vec![session]).await;
                }
                return Err(Code::TokenReused.into());
            }
            Rotation::Ended => return Err(Code::TokenRevoked.into()),
            Rotation::Expired => return Err(Code::TokenExpired.into()),
            Rotation::Unknown => return Err(Code::TokenInvalid.into()),
        };
        let Refreshed { session, account, token } = *refreshed;
        // Also when tokens are issued again: the process of the rotation may have crashed before it
        // published the event.
        self.0.events.session_changed(session.id, session.epoch).await;
        let refresh_ttl = session.expires_at.duration_since(now).unsigned_abs();
        let tokens = self.tokens(&account, session.id, session.epoch, token, refresh_ttl, now)?;
        Ok((tokens, kind))
    }

    /// Checks an access token and its session.
    pub async fn authenticate(&self, token: &str) -> Result<Identity, Error> {
        let claims = self.0.keys.verify(token).await?;
        match self.0.store.session(claims.sid).await? {
            Some((session, account))
                if session.epoch == claims.epoch && session.account == claims.sub =>
            {
                let Session { id, epoch, .. } = session;
                Ok(Identity { account, session: id, epoch, expires: claims.exp })
            }
            _ => Err(Code::TokenRevoked.into()),
        }
    }

    /// Rejects an attempt after too many failures.
    pub(super) async fn check_failures(&self, key: &FailureKey) -> Result<(), Error> {
        let limit = self.0.settings.sign_in_failures;
        if limit == 0 {
            return Ok(());
        }
        let now = self.0.clock.now();
        let failures =
            self.0.store.failures(key, now - FAILURE_WINDOW, now + MAX_SKEW, limit).await?;
        match failures.last() {
            Some(oldest) if failures.len() >= limit as usize => {
                let wait = (*oldest + FAILURE_WINDOW).duration_since(now);
                let retry_after = wait.try_into().unwrap_or(Duration::ZERO).min(FAILURE_WINDOW);
                Err(Error::TooManyAttempts { retry_after })
            }
            _ => Ok(()),
        }
    }

    async fn open_session(
        &self,
        account: &Account,
        open: OpenSession,
        refresh: Secret,
        entry: AuditEntry,
    ) -> Result<Tokens, Error> {
        let NewSession { id, now, .. } = open.session;
        let ended = match self.0.store.transact(&open).await? {
            Ok(ended) => ended,
            // The account is disabled, or its password was changed while it was verified.
            Err(code) => return self.audit_rejection(entry, Err(code.into())).await,
        };
        self.0.events.session_changed(id, FIRST_EPOCH).await;
        self.0.events.session_ended(ended).await;
        self.tokens(account, id, FIRST_EPOCH, refresh, self.0.settings.refresh_ttl, now)
    }

    fn tokens(
        &self,
        account: &Account,
        session: Uuid,
        epoch: u32,
        refresh_token: Secret,
        refresh_ttl: Duration,
        now: Timestamp,
    ) -> Result<Tokens, Error> {
        let access_ttl = self.0.settings.access_ttl;
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

/// Reads what a user typed as an address, or else as a login, which has no `@`.
pub(super) fn identify(login: &str) -> Identifier {
    match Email::parse(login) {
        Some(email) => Identifier::Email(email),
        None => Identifier::Login(LoginKey::of(login)),
    }
}
