//! Who did what, or tried to.

use std::net::IpAddr;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_types::account::{self, Account};
use miniapp_types::problem::Code;
use uuid::Uuid;

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// What it says about its program, cut to a sensible length.
    pub user_agent: Option<String>,
}

/// What can be done with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    SendCode,
    VerifyEmail,
    Register,
    SignIn,
    Refresh,
    SignOut,
    RevokeSession,
    UpdateAccount,
    ChangePassword,
    RequestPasswordReset,
    ResetPassword,
    SetRoles,
    DeleteAccount,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id, which sorts by time.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What, as [`Action`] names it.
    pub action: String,
    /// `ok`, or the code of the refusal.
    pub outcome: String,
    /// The account, where it is known.
    pub account: Option<Uuid>,
    /// Its login at that time.
    pub login: Option<String>,
    /// Where the request came from.
    pub ip: Option<String>,
}

impl Entry {
    /// `action` succeeded.
    pub fn new(action: Action, at: Timestamp, caller: &Caller) -> Self {
        let action: &str = action.into();
        Self {
            id: clock::id_at(at),
            at,
            action: action.to_owned(),
            outcome: "ok".to_owned(),
            account: None,
            login: None,
            ip: caller.ip.map(|ip| ip.to_string()),
        }
    }

    /// The account that it is about.
    #[must_use]
    pub fn about(mut self, account: &Account) -> Self {
        self.account = Some(account.user_id);
        self.login = Some(account.login.clone());
        self
    }

    /// It was refused.
    #[must_use]
    pub fn refused(mut self, code: Code) -> Self {
        self.outcome = code.to_string();
        self
    }
}

impl From<Entry> for account::AuditEntry {
    fn from(entry: Entry) -> Self {
        let Entry { at, action, outcome, account, login, ip, .. } = entry;
        Self { at, action, outcome, user_id: account, login, ip }
    }
}
