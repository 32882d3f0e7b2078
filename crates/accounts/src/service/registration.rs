//! Verifying addresses and registering accounts.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use miniapp_runtime::clock;
use miniapp_types::account::{Account, CodeSent, EmailVerified, Role};
use miniapp_types::problem::Code;

use super::Accounts;
use crate::audit::{Action, Caller};
use crate::code::{Codes, Purpose};
use crate::email::Email;
use crate::error::Error;
use crate::mail::MailTemplate;
use crate::operations::{RegisterAccount, RegisterOutcome, VerifyEmail};
use crate::password::Client;
use crate::requests::{Registration, Verification};
use crate::token_hash::{TokenHash, new_token};

/// How long an address stays verified until it is registered.
pub const VERIFICATION_TTL: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Accounts {
    /// Sends a verification code. The result is the same for an address that has an account;
    /// its owner gets a mail about it.
    pub async fn send_verification_code(
        &self,
        email: Email,
        caller: &Caller,
    ) -> Result<CodeSent, Error> {
        self.check_mailable(&email)?;
        let recipient = self.recipient(email).await?;
        let code = Codes::generate(Purpose::Verification);
        let template =
            MailTemplate::Verification { code: &code, expires_in: self.0.settings.code_ttl };
        let email = &recipient.email;
        let mac = self.0.codes.mac(Purpose::Verification, email.key(), &code);
        let unregistered = self.delivery(mac, email.mailbox(), &template)?;
        let notice = self.mail(&recipient.mailbox, &MailTemplate::AlreadyRegistered)?;
        let registered = self.delivery_without_code(notice);
        let action = Action::SendCode;
        self.issue(Purpose::Verification, action, recipient, registered, unregistered, caller).await
    }

    /// Verifies an address for one registration by the same client.
    pub async fn verify_email(
        &self,
        verification: Verification,
        caller: &Caller,
    ) -> Result<EmailVerified, Error> {
        let entry = self.audit_entry(Action::VerifyEmail, caller);
        let verified = async {
            let Verification { email, code } = verification;
            self.check_mailable(&email)?;
            let macs = self.0.codes.stored_macs(Purpose::Verification, email.key(), &code);
            let code = self.check_code(Purpose::Verification, &email, macs).await?;
            let verified_until = self.0.clock.now() + VERIFICATION_TTL;
            let address = email.to_string();
            let registration_token = new_token()?;
            self.check_mailable(&email)?;
            let token = TokenHash::of(&registration_token);
            let verify = VerifyEmail { email, code, token, verified_until, audit: entry.clone() };
            if !self.0.store.transact(&verify).await? {
                return Err(Code::CodeInvalid.into());
            }
            Ok(EmailVerified { email: address, verified_until, registration_token })
        };
        let verified = verified.await;
        self.audit_rejection(entry, verified).await
    }

    /// Creates an account for an address that the same client verified.
    pub async fn register(
        &self,
        registration: Registration,
        caller: &Caller,
    ) -> Result<Account, Error> {
        let entry = self.audit_entry(Action::Register, caller);
        let Registration { email, token, login, password, birth_date, phone_number } = registration;
        let registered = async {
            let token = TokenHash::of(&token.ok_or(Code::EmailNotVerified)?);
            let now = self.0.clock.now();
            self.check_birth_date(birth_date)?;
            let permit = self.0.hasher.acquire(Client::Network(caller.network())).await?;
            let password = permit.hash(&password).await?;
            let mut roles = vec![Role::User];
            if self.0.settings.admin_email.as_ref() == Some(&email) {
                roles.push(Role::Admin);
            }
            let account = Account {
                user_id: clock::id_at(now),
                login: login.as_str().to_owned(),
                email: email.to_string(),
                roles,
                birth_date,
                phone_number,
                created_at: now,
                disabled: false,
            };
            let register =
                RegisterAccount { token, account, email, login, password, audit: entry.clone() };
            match self.0.store.transact(&register).await? {
                RegisterOutcome::Registered(account) => Ok(account),
                RegisterOutcome::EmailNotVerified => Err(Code::EmailNotVerified.into()),
                RegisterOutcome::LoginTaken => Err(Code::LoginTaken.into()),
                RegisterOutcome::EmailTaken => Err(Code::EmailTaken.into()),
            }
        };
        let registered = registered.await;
        self.audit_rejection(entry, registered).await
    }

    pub(super) fn check_birth_date(&self, date: Option<Date>) -> Result<(), Error> {
        // Somewhere on earth the next day has begun.
        let latest = (self.0.clock.now() + DAY).to_zoned(TimeZone::UTC).date();
        match date {
            Some(date) if date > latest => {
                Err(Error::invalid_field("birthDate", "must not be in the future"))
            }
            _ => Ok(()),
        }
    }
}
