//! Resetting a forgotten password.

use miniapp_types::account::CodeSent;
use miniapp_types::problem::Code;

use super::Accounts;
use crate::audit::{Action, AuditEntry, Caller};
use crate::code::Purpose;
use crate::email::Email;
use crate::error::Error;
use crate::mail::MailTemplate;
use crate::operations::ResetPassword;
use crate::password::Client;
use crate::requests::{ResetConfirmation, Verification};
use crate::store::{Credentials, Identifier};

impl Accounts {
    /// Sends a reset code. An unknown address gets no mail, but the result is the same.
    pub async fn request_reset(&self, email: Email, caller: &Caller) -> Result<CodeSent, Error> {
        let code = self.0.codes.generate(Purpose::Reset);
        let template = MailTemplate::Reset { code: &code, expires_in: self.0.settings.code_ttl };
        let registered = self.delivery(Purpose::Reset, &email, &code, &template)?;
        let unregistered = self.delivery_without_code(self.withheld_mail(&email, &template)?);
        let action = Action::RequestPasswordReset;
        self.issue(Purpose::Reset, action, email, registered, unregistered, caller).await
    }

    /// Sets a new password with a reset code and ends all sessions.
    pub async fn confirm_reset(
        &self,
        confirmation: ResetConfirmation,
        caller: &Caller,
    ) -> Result<(), Error> {
        let mut entry = self.audit_entry(Action::ResetPassword, caller);
        let client = Client::Network(caller.network());
        let reset = self.try_reset(confirmation, &mut entry, client).await;
        self.audit_rejection(entry, reset).await
    }

    async fn try_reset(
        &self,
        confirmation: ResetConfirmation,
        entry: &mut AuditEntry,
        client: Client,
    ) -> Result<(), Error> {
        let ResetConfirmation { verification: Verification { email, code }, new } = confirmation;
        let code = self.check_code(Purpose::Reset, &email, &code).await?;
        let found = self.0.store.credentials(&Identifier::Email(email.clone())).await?;
        let Some(Credentials { account, .. }) = found else {
            return Err(Code::CodeInvalid.into());
        };
        *entry = entry.clone().about(&account);
        self.check_strength(&account, &email, &new, client).await?;
        let new = self.0.hasher.acquire(client).await?.hash(&new).await?;
        let notice = self.mail(&email, &MailTemplate::PasswordChanged)?;
        let (now, audit) = (self.0.clock.now(), entry.clone());
        let reset = ResetPassword { email, code, new, now, notice, audit };
        let this = self.clone();
        let reset = async move {
            let ended = this.0.store.transact(&reset).await?;
            this.publish_ended(ended.ok_or(Code::CodeInvalid)?).await;
            Ok(())
        };
        self.run_to_completion(reset).await
    }
}
