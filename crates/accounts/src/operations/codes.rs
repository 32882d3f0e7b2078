//! Sending codes and verifying addresses.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_runtime::clock::MAX_SKEW;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::outbox::OutboxRow;
use crate::store::{CodeUsage, FailureKey, NewCode, Operation, Outcome, Transaction, TxResult};
use crate::token_hash::TokenHash;

/// Sends a code to an address, within its cooldown and limit.
#[derive(Clone, Debug)]
pub struct IssueCode {
    pub email: Email,
    /// The account with the address, for which `registered` was made.
    pub owner: Option<Uuid>,
    pub purpose: Purpose,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// The address must not have been sent a code after this time.
    pub cooldown_start: Timestamp,
    /// At most `limit` codes are sent after this time.
    pub window_start: Timestamp,
    pub limit: u32,
    /// What is sent to an address that has an account.
    pub registered: CodeDelivery,
    /// What is sent to an address without an account.
    pub unregistered: CodeDelivery,
    pub audit: AuditEntry,
}

/// What is sent to an address.
#[derive(Clone, Debug, Default)]
pub struct CodeDelivery {
    /// The MAC of the code, if one is sent.
    pub code: Option<Mac>,
    pub mail: Option<OutboxRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueOutcome {
    /// Earlier codes of the same purpose are invalid now.
    Sent,
    /// The last code was sent at this time, which is too recent.
    CoolingDown(Timestamp),
    /// The limit is reached; codes have been counted since this time.
    LimitReached(Timestamp),
}

impl IssueCode {
    /// Whether `at` is after `start`. A time in the future does not count: it was stored before
    /// the clock was set back, and nobody has to wait until it is reached again.
    fn is_since(&self, at: Timestamp, start: Timestamp) -> bool {
        at > start && at <= self.now + MAX_SKEW
    }
}

#[async_trait]
impl Operation for IssueCode {
    type Output = IssueOutcome;

    const NAME: &'static str = "issue_code";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<IssueOutcome>> {
        let mut usage = CodeUsage { sent_at: self.now, window_start: self.now, count: 0 };
        if let Some(last) = tx.code_usage(&self.email, self.purpose).await? {
            if self.is_since(last.sent_at, self.cooldown_start) {
                return Ok(Outcome::Commit(IssueOutcome::CoolingDown(last.sent_at)));
            }
            if self.is_since(last.window_start, self.window_start) {
                usage.window_start = last.window_start;
                usage.count = last.count;
            }
            if usage.count >= self.limit {
                return Ok(Outcome::Commit(IssueOutcome::LimitReached(usage.window_start)));
            }
        }
        usage.count += 1;
        // A mail to the owner must not go to the mailbox of someone else, whose address differs
        // only in case.
        let owner = tx.email_owner(&self.email).await?;
        let is_registered = owner.is_some() && owner == self.owner;
        let delivery = if is_registered { &self.registered } else { &self.unregistered };
        let code = NewCode {
            email: &self.email,
            purpose: self.purpose,
            mac: delivery.code.as_ref(),
            expires_at: self.expires_at,
            usage,
        };
        tx.upsert_code(&code).await?;
        if let Some(mail) = &delivery.mail {
            tx.insert_outbox_message(mail).await?;
        }
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(IssueOutcome::Sent))
    }
}

/// Checks a code. A wrong one counts for its address, whether or not it has a code.
#[derive(Clone, Debug)]
pub struct CheckCode {
    pub email: Email,
    pub purpose: Purpose,
    /// The MACs of what was typed, one for each secret. Nobody without the secrets can predict
    /// them, so they are compared like any other value.
    pub macs: Vec<Mac>,
    pub now: Timestamp,
    /// Attempts for one code.
    pub max_attempts: u32,
    pub failures: FailureKey,
    /// At most `limit` wrong codes are accepted after this time, over all codes.
    pub window_start: Timestamp,
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeCheck {
    /// Right, and stored with this MAC.
    Valid(Mac),
    /// Wrong, used, expired or without attempts left.
    Wrong,
    /// The limit is reached; this is the oldest wrong code that counts.
    LimitReached(Timestamp),
}

#[async_trait]
impl Operation for CheckCode {
    type Output = CodeCheck;

    const NAME: &'static str = "check_code";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<CodeCheck>> {
        let Self { email, purpose, now, limit, .. } = self;
        let until = *now + MAX_SKEW;
        let wrong = tx.failures(&self.failures, self.window_start, until, *limit).await?;
        if let Some(oldest) = wrong.last().filter(|_| wrong.len() >= *limit as usize) {
            return Ok(Outcome::Commit(CodeCheck::LimitReached(*oldest)));
        }
        let mac = tx.spend_code_attempt(email, *purpose, *now, self.max_attempts).await?;
        if let Some(mac) = mac.filter(|mac| self.macs.contains(mac)) {
            return Ok(Outcome::Commit(CodeCheck::Valid(mac)));
        }
        tx.insert_failure(&self.failures, None, *now).await?;
        Ok(Outcome::Commit(CodeCheck::Wrong))
    }
}

/// Consumes a verification code and marks the address as verified. Returns false if the
/// code is no longer valid.
#[derive(Clone, Debug)]
pub struct VerifyEmail {
    pub email: Email,
    pub code: Mac,
    /// The token that a registration with the address must present.
    pub token: TokenHash,
    pub verified_until: Timestamp,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for VerifyEmail {
    type Output = bool;

    const NAME: &'static str = "verify_email";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<bool>> {
        let Self { email, code, token, verified_until, .. } = self;
        let Some(mailbox) = tx.consume_code(email, Purpose::Verification, code).await? else {
            return Ok(Outcome::Rollback(false));
        };
        tx.upsert_verified_email(email, &mailbox, token, *verified_until).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(true))
    }
}
