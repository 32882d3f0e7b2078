//! The audit log.

use std::net::IpAddr;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_runtime::network::client_network;
use miniapp_types::account::{self, Account};
use miniapp_types::problem::Code;
use uuid::Uuid;

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub ip: Option<IpAddr>,
    /// The `User-Agent` header, truncated.
    pub user_agent: Option<String>,
}

impl Caller {
    /// Returns what limits per client apply to.
    pub(crate) fn network(&self) -> Option<IpAddr> {
        self.ip.map(client_network)
    }
}

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// A UUIDv7, so that ids sort by time.
    pub id: Uuid,
    pub at: Timestamp,
    /// The name of an [`Action`].
    pub action: String,
    /// `ok`, or the error code.
    pub outcome: String,
    /// The account, if it is known.
    pub account: Option<Uuid>,
    /// The account's login at that time.
    pub login: Option<String>,
    pub ip: Option<String>,
}

impl AuditEntry {
    /// An action that succeeded.
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

    #[must_use]
    pub fn about(mut self, account: &Account) -> Self {
        self.account = Some(account.user_id);
        self.login = Some(account.login.clone());
        self
    }

    #[must_use]
    pub fn rejected(mut self, code: Code) -> Self {
        self.outcome = code.to_string();
        self
    }
}

impl From<AuditEntry> for account::AuditEntry {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { at, action, outcome, account, login, ip, .. } = entry;
        Self { at, action, outcome, user_id: account, login, ip }
    }
}
