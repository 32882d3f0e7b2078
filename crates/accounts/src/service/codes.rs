//! Codes sent by mail, and mails in the outbox.

use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_types::account::{Account, CodeSent};
use miniapp_types::problem::Code;

use super::Accounts;
use crate::audit::{Action, Caller};
use crate::code::{Codes, Mac, Purpose};
use crate::email::Email;
use crate::error::Error;
use crate::failure_key::code_key;
use crate::mail::{Mail, MailTemplate};
use crate::operations::{CheckCode, CodeCheck, CodeDelivery, IssueCode, IssueOutcome};
use crate::outbox::{OutboxMessage, OutboxRow};
use crate::store::{Credentials, Identifier};

/// The window of the limits of codes and wrong codes per address.
const LIMIT_WINDOW: Duration = Duration::from_hours(24);
/// Wrong codes for an address in [`LIMIT_WINDOW`], over all its codes.
const WRONG_CODES: u32 = 20;

/// Who a mail to an address goes to.
pub(super) struct Recipient {
    pub email: Email,
    pub mailbox: String,
    /// The account with the address.
    pub owner: Option<Account>,
}

impl Recipient {
    /// Returns what a reset code is bound to: the address of the account as it is stored, which
    /// is unique even among accounts of the previous release with equal addresses.
    pub fn reset_address(&self) -> &str {
        self.owner.as_ref().map_or(self.email.key(), |account| &account.email)
    }
}

impl Accounts {
    /// Rejects an address that mail can't be sent to from here.
    pub(super) fn check_mailable(&self, email: &Email) -> Result<(), Error> {
        if email.has_dotted_domain() || self.0.settings.mails_locally {
            return Ok(());
        }
        Err(Error::invalid_field("email", "must have a domain with a dot, such as example.com"))
    }

    /// Returns who a mail to an address goes to. Mail to an account goes to the mailbox that its
    /// owner has verified, not to another spelling of the address.
    pub(super) async fn recipient(&self, email: Email) -> Result<Recipient, Error> {
        let found = self.0.store.credentials(&Identifier::Email(email.clone())).await?;
        Ok(match found {
            Some(Credentials { account, mailbox, .. }) => {
                Recipient { email, mailbox, owner: Some(account) }
            }
            None => Recipient { mailbox: email.mailbox().to_owned(), email, owner: None },
        })
    }

    pub(super) async fn issue(
        &self,
        purpose: Purpose,
        action: Action,
        recipient: Recipient,
        registered: CodeDelivery,
        unregistered: CodeDelivery,
        caller: &Caller,
    ) -> Result<CodeSent, Error> {
        let Recipient { email, owner, .. } = recipient;
        let mut entry = self.audit_entry(action, caller);
        if let Some(account) = &owner {
            entry = entry.about(account);
        }
        let settings = &self.0.settings;
        let now = self.0.clock.now();
        let issue = IssueCode {
            email,
            owner: owner.map(|account| account.user_id),
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
        let issued = match self.0.store.transact(&issue).await? {
            IssueOutcome::Sent => Ok(CodeSent {
                expires_in: settings.code_ttl.as_secs(),
                retry_after: settings.code_cooldown.as_secs(),
            }),
            IssueOutcome::CoolingDown(sent_at) => {
                Err(too_many(sent_at, settings.code_cooldown, now))
            }
            IssueOutcome::LimitReached(start) => Err(too_many(start, LIMIT_WINDOW, now)),
        };
        self.0.wake.notify();
        self.audit_rejection(entry, issued).await
    }

    /// Checks a code by its MACs, and returns the stored one. Every call counts as an attempt for
    /// the code, and a wrong code counts for the address.
    pub(super) async fn check_code(
        &self,
        purpose: Purpose,
        email: &Email,
        macs: Vec<Mac>,
    ) -> Result<Mac, Error> {
        let now = self.0.clock.now();
        let check = CheckCode {
            email: email.clone(),
            purpose,
            macs,
            now,
            max_attempts: self.0.settings.code_tries,
            failures: code_key(email),
            window_start: now - LIMIT_WINDOW,
            limit: WRONG_CODES,
        };
        match self.0.store.transact(&check).await? {
            CodeCheck::Valid(mac) => Ok(mac),
            CodeCheck::Wrong => Err(Code::CodeInvalid.into()),
            CodeCheck::LimitReached(oldest) => Err(too_many(oldest, LIMIT_WINDOW, now)),
        }
    }

    /// A code with its mail.
    pub(super) fn delivery(
        &self,
        mac: Mac,
        mailbox: &str,
        template: &MailTemplate<'_>,
    ) -> Result<CodeDelivery, Error> {
        let mail = self.mail(mailbox, template)?.expiring_after(self.0.settings.code_ttl);
        Ok(CodeDelivery { code: Some(mac), mail: Some(mail) })
    }

    /// A mail without a code. A MAC that matches no code is stored, so that neither requests
    /// nor attempts take a different time.
    pub(super) fn delivery_without_code(&self, mail: OutboxRow) -> CodeDelivery {
        let mail = mail.expiring_after(self.0.settings.code_ttl);
        CodeDelivery { code: Some(Codes::unmatchable_mac()), mail: Some(mail) }
    }

    pub(super) fn mail(
        &self,
        mailbox: &str,
        template: &MailTemplate<'_>,
    ) -> Result<OutboxRow, Error> {
        self.outbox_mail(OutboxMessage::Mail, mailbox, template)
    }

    /// A mail that is not sent, for the same work as one that is.
    pub(super) fn withheld_mail(
        &self,
        mailbox: &str,
        template: &MailTemplate<'_>,
    ) -> Result<OutboxRow, Error> {
        self.outbox_mail(OutboxMessage::WithheldMail, mailbox, template)
    }

    fn outbox_mail(
        &self,
        message: fn(Mail) -> OutboxMessage,
        mailbox: &str,
        template: &MailTemplate<'_>,
    ) -> Result<OutboxRow, Error> {
        let now = self.0.clock.now();
        let mail = template.render(clock::id_at(now), mailbox);
        Ok(self.0.codec.encode(&message(mail), now)?)
    }
}

/// An error until `wait` after `start`. A clock that was set back does not prolong the wait.
fn too_many(start: Timestamp, wait: Duration, now: Timestamp) -> Error {
    let rest = (start + wait).duration_since(now).try_into().unwrap_or(Duration::ZERO);
    Error::TooManyAttempts { retry_after: wait.min(rest) }
}
