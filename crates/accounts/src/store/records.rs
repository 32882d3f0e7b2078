//! What goes into the operations of a store and what comes out.

use jiff::Timestamp;
use jiff::civil::Date;
use miniapp_types::account::{Account, Role};
use uuid::Uuid;

use crate::audit::Entry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::login::Login;
use crate::outbox::OutboxRow;
use crate::password::Hash;

/// A code that is to be sent to an address, and what is sent in either case.
#[derive(Clone, Debug)]
pub struct IssueCode {
    /// The address.
    pub email: Email,
    /// What the code is for.
    pub purpose: Purpose,
    /// When it is asked for.
    pub now: Timestamp,
    /// When the code dies.
    pub expires_at: Timestamp,
    /// The address must not have been sent one after this time.
    pub cooled_since: Timestamp,
    /// Since when codes are counted.
    pub counted_since: Timestamp,
    /// How many are allowed since then.
    pub most: u32,
    /// What happens if the address has an account.
    pub known: Sending,
    /// What happens if it has none.
    pub unknown: Sending,
    /// The entry in the audit log.
    pub audit: Entry,
}

/// What is sent to an address.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// What is kept of the code, if one is sent.
    pub code: Option<Mac>,
    /// The mail, if one is sent.
    pub mail: Option<OutboxRow>,
}

/// What became of an [`IssueCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// It is done; codes sent before are dead.
    Sent,
    /// The address was sent one at this time, which is too short ago.
    Cooling(Timestamp),
    /// The address has had its share since this time.
    Exhausted(Timestamp),
}

/// An account that is to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its id.
    pub id: Uuid,
    /// Its address.
    pub email: Email,
    /// Its login.
    pub login: Login,
    /// Its password.
    pub password: Hash,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The day of birth.
    pub birth_date: Option<Date>,
    /// The phone number.
    pub phone_number: Option<String>,
    /// When it is made.
    pub now: Timestamp,
    /// The entry in the audit log.
    pub audit: Entry,
}

/// What became of a [`NewAccount`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It stands, and the verification is used up.
    Done(Account),
    /// The address has no open verification.
    NotVerified,
    /// Another account has the login or one that looks the same.
    LoginTaken,
    /// Another account has the address.
    EmailTaken,
}

/// Changes of an account: `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct AccountChanges {
    /// The login.
    pub login: Option<Login>,
    /// The day of birth, or none.
    pub birth_date: Option<Option<Date>>,
    /// The phone number, or none.
    pub phone_number: Option<Option<String>>,
}

/// What became of [`AccountChanges`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The account after it.
    Done(Account),
    /// Another account has the login or one that looks the same.
    LoginTaken,
    /// There is no such account.
    Unknown,
}

/// How people say who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    /// By the key of their login.
    LoginKey(String),
    /// By their address.
    Email(Email),
}

/// An account with what proves that one is its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The account.
    pub account: Account,
    /// Its password.
    pub password: Hash,
}

/// A new password for someone who proved to know the old one.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// The account.
    pub account: Uuid,
    /// The password that was proved; must be in force still.
    pub old: Hash,
    /// The one from now on.
    pub new: Hash,
    /// The session that stays.
    pub keep: Uuid,
    /// When.
    pub now: Timestamp,
    /// The mail about it.
    pub notice: OutboxRow,
    /// The entry in the audit log.
    pub audit: Entry,
}

/// A new password for someone who proved to own the address.
#[derive(Clone, Debug)]
pub struct PasswordReset {
    /// The address.
    pub email: Email,
    /// The code that was proved; is used up by it.
    pub code: Mac,
    /// The password from now on.
    pub new: Hash,
    /// When.
    pub now: Timestamp,
    /// The mail about it.
    pub notice: OutboxRow,
    /// The entry in the audit log.
    pub audit: Entry,
}

/// A key for counting failed sign-ins: a hash of the account or of the unknown name.
pub type FailureKey = [u8; 32];

/// What is too old to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Outdated {
    /// The time: whatever has ended by itself before goes.
    pub now: Timestamp,
    /// Codes that have expired and were counted first before this go.
    pub codes_before: Timestamp,
    /// Failed sign-ins before this go.
    pub failures_before: Timestamp,
    /// Entries of the audit log before this go.
    pub audit_before: Timestamp,
    /// Kept mails before this go.
    pub mails_before: Timestamp,
}
