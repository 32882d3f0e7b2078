//! A new password for whoever lost the old one.

use miniapp_types::account::CodeSent;
use miniapp_types::problem::Code;

use super::Accounts;
use crate::audit::{Action, Caller, Entry};
use crate::code::Purpose;
use crate::email::Email;
use crate::error::Error;
use crate::mail::Letter;
use crate::requests::{ResetConfirmation, Verification};
use crate::store::{Credentials, Identifier, PasswordReset};

impl Accounts {
    /// Sends a code with which a new password can be set. An unknown address gets no
    /// mail, and the answer doesn't tell.
    pub async fn request_reset(&self, email: Email, caller: &Caller) -> Result<CodeSent, Error> {
        let code = self.0.codes.make();
        let letter = Letter::Reset { code: &code, expires_in: self.0.settings.code_ttl };
        let known = self.sending(Purpose::Reset, &email, &code, &letter)?;
        let unknown = self.without_code(self.withheld(&email, &letter)?);
        self.issue(Purpose::Reset, Action::RequestPasswordReset, email, known, unknown, caller)
            .await
    }

    /// Sets a new password with a code, which ends all sessions.
    pub async fn confirm_reset(
        &self,
        confirmation: ResetConfirmation,
        caller: &Caller,
    ) -> Result<(), Error> {
        let mut entry = self.entry(Action::ResetPassword, caller);
        let reset = self.try_reset(confirmation, &mut entry).await;
        self.noting(entry, reset).await
    }

    async fn try_reset(
        &self,
        confirmation: ResetConfirmation,
        entry: &mut Entry,
    ) -> Result<(), Error> {
        let ResetConfirmation { verification: Verification { email, code }, new } = confirmation;
        let mac = self.prove(Purpose::Reset, &email, &code).await?;
        let found = self.0.store.credentials(&Identifier::Email(email.clone())).await?;
        let Some(Credentials { account, .. }) = found else {
            return Err(Code::CodeInvalid.into());
        };
        *entry = entry.clone().about(&account);
        self.judge(&account, &email, &new).await?;
        let new = self.0.passwords.turn().await?.hash(&new).await?;
        let notice = self.letter(&email, &Letter::PasswordChanged)?;
        let (now, audit) = (self.0.clock.now(), entry.clone());
        let reset = PasswordReset { email, code: mac, new, now, notice, audit };
        let this = self.clone();
        let reset = async move {
            let ended = this.0.store.reset_password(reset).await?;
            this.sessions_ended(ended.ok_or(Code::CodeInvalid)?).await;
            Ok(())
        };
        self.to_the_end(reset).await
    }
}
