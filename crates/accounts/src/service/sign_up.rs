//! From an address to an account.

use std::time::Duration;

use miniapp_runtime::clock;
use miniapp_types::account::{Account, CodeSent, EmailVerified, Role, Secret};
use miniapp_types::problem::Code;

use super::Accounts;
use crate::audit::{Action, Caller};
use crate::code::Purpose;
use crate::email::Email;
use crate::error::Error;
use crate::mail::{Letter, Mail};
use crate::outbox::{OutboxMessage, OutboxRow};
use crate::requests::{Registration, Verification};
use crate::store::{IssueCode, Issued, NewAccount, Registered, Sending};

/// How long a verified address may wait for its registration.
const VERIFIED_FOR: Duration = Duration::from_hours(1);
/// How long codes are counted for the cap.
const DAY: Duration = Duration::from_hours(24);

impl Accounts {
    /// Sends a code to an address that is to be registered. Who asks can't tell from the
    /// answer whether the address has an account; its owner is told by mail.
    pub async fn send_verification_code(
        &self,
        email: Email,
        caller: &Caller,
    ) -> Result<CodeSent, Error> {
        let code = self.0.codes.make();
        let letter = Letter::Verification { code: &code, expires_in: self.0.settings.code_ttl };
        let unknown = self.sending(Purpose::Verification, &email, &code, &letter)?;
        let known = self.without_code(self.letter(&email, &Letter::AlreadyRegistered)?);
        self.issue(Purpose::Verification, Action::SendCode, email, known, unknown, caller).await
    }

    /// Notes that an address is its holder's own, for one registration.
    pub async fn verify_email(
        &self,
        verification: Verification,
        caller: &Caller,
    ) -> Result<EmailVerified, Error> {
        let entry = self.entry(Action::VerifyEmail, caller);
        let verified = async {
            let Verification { email, code } = &verification;
            let mac = self.prove(Purpose::Verification, email, code).await?;
            let until = self.0.clock.now() + VERIFIED_FOR;
            if !self.0.store.verify_email(email, &mac, until, entry.clone()).await? {
                return Err(Code::CodeInvalid.into());
            }
            Ok(EmailVerified { email: email.to_string(), verified_until: until })
        };
        let verified = verified.await;
        self.noting(entry, verified).await
    }

    /// Makes an account for a verified address.
    pub async fn register(
        &self,
        registration: Registration,
        caller: &Caller,
    ) -> Result<Account, Error> {
        let entry = self.entry(Action::Register, caller);
        let Registration { email, login, password, birth_date, phone_number } = registration;
        let registered = async {
            let now = self.0.clock.now();
            self.check_birth_date(birth_date)?;
            let password = self.0.passwords.turn().await?.hash(&password).await?;
            let mut roles = vec![Role::User];
            if self.0.settings.admin_email.as_ref() == Some(&email) {
                roles.push(Role::Admin);
            }
            let id = clock::id_at(now);
            let audit = entry.clone();
            let new = NewAccount {
                id,
                email,
                login,
                password,
                roles,
                birth_date,
                phone_number,
                now,
                audit,
            };
            match self.0.store.register(new).await? {
                Registered::Done(account) => Ok(account),
                Registered::NotVerified => Err(Code::EmailNotVerified.into()),
                Registered::LoginTaken => Err(Code::LoginTaken.into()),
                Registered::EmailTaken => Err(Code::EmailTaken.into()),
            }
        };
        let registered = registered.await;
        self.noting(entry, registered).await
    }

    /// A code for an address, with the mail written down.
    pub(super) fn sending(
        &self,
        purpose: Purpose,
        email: &Email,
        code: &Secret,
        letter: &Letter<'_>,
    ) -> Result<Sending, Error> {
        let mail = self.letter(email, letter)?.within(self.0.settings.code_ttl);
        let code = self.0.codes.mac(purpose, email, code);
        Ok(Sending { code: Some(code), mail: Some(mail) })
    }

    /// What an address has that gets no code: the same in the store, so that neither asking
    /// for a code nor trying some takes another time.
    pub(super) fn without_code(&self, mail: OutboxRow) -> Sending {
        let mail = mail.within(self.0.settings.code_ttl);
        Sending { code: Some(self.0.codes.without_code()), mail: Some(mail) }
    }

    /// A mail as a message.
    pub(super) fn letter(&self, email: &Email, letter: &Letter<'_>) -> Result<OutboxRow, Error> {
        self.owe(OutboxMessage::Mail, email, letter)
    }

    /// A mail that isn't sent, as a message.
    pub(super) fn withheld(&self, email: &Email, letter: &Letter<'_>) -> Result<OutboxRow, Error> {
        self.owe(OutboxMessage::Withheld, email, letter)
    }

    fn owe(
        &self,
        message: fn(Mail) -> OutboxMessage,
        email: &Email,
        letter: &Letter<'_>,
    ) -> Result<OutboxRow, Error> {
        let now = self.0.clock.now();
        let mail = letter.to(clock::id_at(now), email);
        Ok(self.0.codec.write(&message(mail), now)?)
    }

    pub(super) async fn issue(
        &self,
        purpose: Purpose,
        action: Action,
        email: Email,
        known: Sending,
        unknown: Sending,
        caller: &Caller,
    ) -> Result<CodeSent, Error> {
        let entry = self.entry(action, caller);
        let settings = &self.0.settings;
        let now = self.0.clock.now();
        let issued = self.0.store.issue_code(IssueCode {
            email,
            purpose,
            now,
            expires_at: now + settings.code_ttl,
            cooled_since: now - settings.code_cooldown,
            counted_since: now - DAY,
            most: settings.codes_per_day,
            known,
            unknown,
            audit: entry.clone(),
        });
        let until = |end: jiff::Timestamp| {
            let retry_after = end.duration_since(now).try_into().unwrap_or(Duration::ZERO);
            Err(Error::TooOften { retry_after })
        };
        let issued = match issued.await? {
            Issued::Sent => Ok(CodeSent {
                expires_in: settings.code_ttl.as_secs(),
                retry_after: settings.code_cooldown.as_secs(),
            }),
            Issued::Cooling(sent_at) => until(sent_at + settings.code_cooldown),
            Issued::Exhausted(since) => until(since + DAY),
        };
        self.0.wake.notify_one();
        self.noting(entry, issued).await
    }

    /// What is kept of the right code; every call is one of the code's tries.
    pub(super) async fn prove(
        &self,
        purpose: Purpose,
        email: &Email,
        code: &Secret,
    ) -> Result<crate::code::Mac, Error> {
        let tries = self.0.settings.code_tries;
        let kept = self.0.store.spend_try(email, purpose, self.0.clock.now(), tries).await?;
        kept.filter(|mac| self.0.codes.is_right(purpose, email, code, mac))
            .ok_or(Error::Refused(Code::CodeInvalid))
    }

    pub(super) fn check_birth_date(&self, date: Option<jiff::civil::Date>) -> Result<(), Error> {
        // Somewhere on earth the next day has begun.
        let latest = (self.0.clock.now() + DAY).to_zoned(jiff::tz::TimeZone::UTC).date();
        match date {
            Some(date) if date > latest => {
                Err(Error::invalid_field("birthDate", "must not be in the future"))
            }
            _ => Ok(()),
        }
    }
}
