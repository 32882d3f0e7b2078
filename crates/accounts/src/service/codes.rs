//! Codes sent by mail, and mails in the outbox.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_types::account::{CodeSent, Secret};
use miniapp_types::problem::Code;

use super::Accounts;
use crate::audit::{Action, Caller};
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::error::Error;
use crate::mail::{Mail, MailTemplate};
use crate::operations::{CodeDelivery, IssueCode, IssueOutcome};
use crate::outbox::{OutboxMessage, OutboxRow};

/// The window of the limit of codes per address.
const LIMIT_WINDOW: Duration = Duration::from_hours(24);

impl Accounts {
    pub(super) async fn issue(
        &self,
        purpose: Purpose,
        action: Action,
        email: Email,
        registered: CodeDelivery,
        unregistered: CodeDelivery,
        caller: &Caller,
    ) -> Result<CodeSent, Error> {
        let entry = self.audit_entry(action, caller);
        let settings = &self.0.settings;
        let now = self.0.clock.now();
        let issue = IssueCode {
            email,
            purpose,
            now,
            expires_at: now + settings.code_ttl,
            cooldown_start: now - settings.code_cooldown,
            window_start: now - LIMIT_WINDOW,
            limit: settings.codes_per_day,
            registered,
            unregistered,
            audit: entry.clone(),
        };
        let retry_at = |start: Timestamp, wait: Duration| {
            let rest = (start + wait).duration_since(now).try_into().unwrap_or(Duration::ZERO);
            Err(Error::TooManyAttempts { retry_after: wait.min(rest) })
        };
        let issued = match self.0.store.transact(&issue).await? {
            IssueOutcome::Sent => Ok(CodeSent {
                expires_in: settings.code_ttl.as_secs(),
                retry_after: settings.code_cooldown.as_secs(),
            }),
            IssueOutcome::CoolingDown(sent_at) => retry_at(sent_at, settings.code_cooldown),
            IssueOutcome::LimitReached(start) => retry_at(start, LIMIT_WINDOW),
        };
        self.0.wake.notify_one();
        self.audit_rejection(entry, issued).await
    }

    /// Checks a code and returns its MAC. Every call counts as an attempt.
    pub(super) async fn check_code(
        &self,
        purpose: Purpose,
        email: &Email,
        code: &Secret,
    ) -> Result<Mac, Error> {
        let (now, max_attempts) = (self.0.clock.now(), self.0.settings.code_tries);
        let mac = self.0.store.spend_code_attempt(email, purpose, now, max_attempts).await?;
        mac.filter(|mac| self.0.codes.verify(purpose, email, code, mac))
            .ok_or(Error::Rejected(Code::CodeInvalid))
    }

    /// A code with its mail.
    pub(super) fn delivery(
        &self,
        purpose: Purpose,
        email: &Email,
        code: &Secret,
        template: &MailTemplate<'_>,
    ) -> Result<CodeDelivery, Error> {
        let mail = self.mail(email, template)?.expiring_after(self.0.settings.code_ttl);
        let code = self.0.codes.mac(purpose, email, code);
        Ok(CodeDelivery { code: Some(code), mail: Some(mail) })
    }

    /// A mail without a code. A MAC that matches no code is stored, so that neither requests
    /// nor attempts take a different time.
    pub(super) fn delivery_without_code(&self, mail: OutboxRow) -> CodeDelivery {
        let mail = mail.expiring_after(self.0.settings.code_ttl);
        CodeDelivery { code: Some(self.0.codes.unmatchable_mac()), mail: Some(mail) }
    }

    pub(super) fn mail(
        &self,
        email: &Email,
        template: &MailTemplate<'_>,
    ) -> Result<OutboxRow, Error> {
        self.outbox_mail(OutboxMessage::Mail, email, template)
    }

    /// A mail that is not sent, for the same work as one that is.
    pub(super) fn withheld_mail(
        &self,
        email: &Email,
        template: &MailTemplate<'_>,
    ) -> Result<OutboxRow, Error> {
        self.outbox_mail(OutboxMessage::WithheldMail, email, template)
    }

    fn outbox_mail(
        &self,
        message: fn(Mail) -> OutboxMessage,
        email: &Email,
        template: &MailTemplate<'_>,
    ) -> Result<OutboxRow, Error> {
        let now = self.0.clock.now();
        let mail = template.render(clock::id_at(now), email);
        Ok(self.0.codec.encode(&message(mail), now)?)
    }
}
