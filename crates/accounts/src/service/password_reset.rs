//! Resetting a forgotten password.

use miniapp_types::account::CodeSent;
use miniapp_types::problem::Code;

use super::Accounts;
use super::codes::Recipient;
use crate::audit::{Action, AuditEntry, Caller};
use crate::code::{Codes, Purpose};
use crate::email::Email;
use crate::error::Error;
use crate::mail::MailTemplate;
use crate::operations::ResetPassword;
use crate::password::Client;
use crate::requests::{ResetConfirmation, Verification};

impl Accounts {
    /// Sends a reset code. An unknown address gets no mail, and that of a disabled account one
    /// without a code, but the result is the same.
    pub async fn request_reset(&self, email: Email, caller: &Caller) -> Result<CodeSent, Error> {
        self.check_mailable(&email)?;
        let recipient = self.recipient(email).await?;
        let code = Codes::generate(Purpose::Reset);
        let is_disabled = recipient.owner.as_ref().is_some_and(|owner| owner.disabled);
        let template = MailTemplate::Reset { code: &code, expires_in: self.0.settings.code_ttl };
        let mac = self.0.codes.mac(Purpose::Reset, recipient.reset_address(), &code);
        let mailbox = &recipient.mailbox;
        let registered = if is_disabled {
            self.delivery_without_code(self.mail(mailbox, &MailTemplate::AccountDisabled)?)
        } else {
            self.delivery(mac, mailbox, &template)?
        };
        let unregistered = self.delivery_without_code(self.withheld_mail(mailbox, &template)?);
        let action = Action::RequestPasswordReset;
        self.issue(Purpose::Reset, action, recipient, registered, unregistered, caller).await
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
        self.check_mailable(&email)?;
        let recipient = self.recipient(email).await?;
        let macs = self.0.codes.stored_macs(Purpose::Reset, recipient.reset_address(), &code);
        let code = self.check_code(Purpose::Reset, &recipient.email, macs).await?;
        let Recipient { email, mailbox, owner } = recipient;
        let account = owner.ok_or(Code::CodeInvalid)?;
        *entry = entry.clone().about(&account);
        self.check_strength(&account, &new, client).await?;
        let new = self.0.hasher.acquire(client).await?.hash(&new).await?;
        let notice = self.mail(&mailbox, &MailTemplate::PasswordReset)?;
        let (now, audit) = (self.0.clock.now(), entry.clone());
        let reset =
            ResetPassword { account: account.user_id, email, code, new, now, notice, audit };
        let this = self.clone();
        let reset = async move {
            let ended = this.0.store.transact(&reset).await?;
            this.publish_ended(ended?).await;
            Ok(())
        };
        self.run_to_completion(reset).await
    }
}
