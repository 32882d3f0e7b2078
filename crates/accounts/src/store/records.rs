//! Values that go into a store and come out of it.

use jiff::Timestamp;
use miniapp_types::account::Account;
use uuid::Uuid;

use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::login::LoginKey;
use crate::password::PasswordHash;

/// What a user signs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    Login(LoginKey),
    Email(Email),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub account: Account,
    /// Where mail to the account is sent.
    pub mailbox: String,
    pub password: PasswordHash,
}

/// An account whose names have not been case-folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfoldedAccount {
    pub id: Uuid,
    pub login: String,
    pub email: String,
    pub has_email_key: bool,
}

/// How often an address was sent codes for a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeUsage {
    pub sent_at: Timestamp,
    /// Codes are counted from this time on.
    pub window_start: Timestamp,
    pub count: u32,
}

/// A code to be stored.
#[derive(Debug)]
pub struct NewCode<'a> {
    pub email: &'a Email,
    pub purpose: Purpose,
    /// `None` if no code was sent.
    pub mac: Option<&'a Mac>,
    pub expires_at: Timestamp,
    pub usage: CodeUsage,
}

/// A key for counting failed attempts: a hash of what they have in common.
pub type FailureKey = [u8; 32];

/// A signing key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    /// The key id in tokens, derived from the public key.
    pub kid: String,
    /// The key that this one replaces; empty for the first. A key has one successor, so
    /// that replicas don't each create their own.
    pub follows: String,
    pub public: [u8; 32],
    /// The encrypted private key.
    pub sealed: Vec<u8>,
    pub signs_from: Timestamp,
}

/// The numbers of credentials that were valid before all were revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    pub sessions: u64,
    pub api_keys: u64,
}

/// Which rows have expired. Those that carry their own end expire at `now`.
#[derive(Clone, Copy, Debug)]
pub struct ExpiryLimits {
    pub now: Timestamp,
    pub codes_before: Timestamp,
    pub api_keys_before: Timestamp,
    pub failures_before: Timestamp,
    pub audit_before: Timestamp,
    pub mails_before: Timestamp,
}
