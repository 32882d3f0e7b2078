//! The audit log.

use std::net::IpAddr;

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_runtime::network::client_network;
use miniapp_types::account::{self, Account, Role};
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
    /// The tokens of a refresh were issued again, because its answer may have been lost.
    ReissueTokens,
    SignOut,
    RevokeSession,
    CreateApiKey,
    RevokeApiKey,
    UpdateAccount,
    ChangePassword,
    RequestPasswordReset,
    ResetPassword,
    SetRoles,
    DisableAccount,
    EnableAccount,
    DeleteAccount,
    ListAccounts,
    ReadAudit,
    /// The database was restored from a backup.
    Restore,
    RotateKeys,
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
    /// The account that the action is about, if it is known.
    pub account: Option<Uuid>,
    /// The account's login at that time.
    pub login: Option<String>,
    /// The account that acted, if it was signed in.
    pub actor: Option<Uuid>,
    /// The actor's login at that time.
    pub actor_login: Option<String>,
    /// The session of the actor, or of the refresh token.
    pub session: Option<Uuid>,
    /// The API key that the action is about.
    pub api_key: Option<Uuid>,
    pub roles_before: Option<Vec<Role>>,
    pub roles_after: Option<Vec<Role>>,
    pub ip: Option<String>,
    /// How many equal requests it stands for.
    pub count: u64,
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
            actor: None,
            actor_login: None,
            session: None,
            api_key: None,
            roles_before: None,
            roles_after: None,
            ip: caller.ip.map(|ip| ip.to_string()),
            count: 1,
        }
    }

    /// An action that an account takes in a session of its own.
    #[must_use]
    pub fn by(mut self, actor: &Account, session: Uuid) -> Self {
        self.actor = Some(actor.user_id);
        self.actor_login = Some(actor.login.clone());
        self.session = Some(session);
        self
    }

    #[must_use]
    pub fn about(mut self, account: &Account) -> Self {
        self.account = Some(account.user_id);
        self.login = Some(account.login.clone());
        self
    }

    #[must_use]
    pub fn about_key(mut self, api_key: Uuid) -> Self {
        self.api_key = Some(api_key);
        self
    }

    #[must_use]
    pub fn with_roles(mut self, before: Option<&[Role]>, after: Option<&[Role]>) -> Self {
        self.roles_before = before.map(<[Role]>::to_vec);
        self.roles_after = after.map(<[Role]>::to_vec);
        self
    }

    #[must_use]
    pub fn with_action(mut self, action: Action) -> Self {
        let action: &str = action.into();
        action.clone_into(&mut self.action);
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
        Self {
            at: entry.at,
            action: entry.action,
            outcome: entry.outcome,
            user_id: entry.account,
            login: entry.login,
            actor_id: entry.actor,
            actor_login: entry.actor_login,
            session_id: entry.session,
            api_key_id: entry.api_key,
            roles_before: entry.roles_before,
            roles_after: entry.roles_after,
            ip: entry.ip,
            count: entry.count,
        }
    }
}
