//! Administration of accounts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Account, Role};
use crate::fields::{Fields, FromFields};

/// The body of `PUT /users/{id}/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetRoles {
    /// The new roles of the account.
    #[schema(min_items = 1, example = json!(["user", "admin"]))]
    pub roles: Vec<Role>,
}

impl FromFields for SetRoles {
    fn read(fields: &mut Fields) -> Option<Self> {
        let names = fields.texts("roles")?;
        if names.is_empty() {
            fields.reject("roles", "must name at least one role");
        }
        let mut roles = Vec::new();
        for (index, name) in names.iter().enumerate().take(100) {
            match name.parse() {
                Ok(role) => roles.push(role),
                Err(_) => fields.reject(&format!("roles[{index}]"), "must be user or admin"),
            }
        }
        roles.sort();
        roles.dedup();
        Some(Self { roles })
    }
}

/// The body of `PUT /users/{id}/disabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetDisabled {
    /// Whether the account is disabled.
    pub disabled: bool,
}

impl FromFields for SetDisabled {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { disabled: fields.boolean("disabled")? })
    }
}

/// A page of accounts, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountPage {
    pub users: Vec<Account>,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// An action on an account, or the attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    pub at: Timestamp,
    /// In `snake_case`.
    #[schema(example = "sign_in")]
    pub action: String,
    /// `ok`, or the code of the error.
    #[schema(example = "ok")]
    pub outcome: String,
    /// The account that the action is about, if it is known.
    pub user_id: Option<Uuid>,
    /// Its login at the time.
    pub login: Option<String>,
    /// The account that acted, if it was signed in.
    #[serde(default)]
    pub actor_id: Option<Uuid>,
    /// The login of the actor at the time.
    #[serde(default)]
    pub actor_login: Option<String>,
    /// The session of the actor, or of the refresh token.
    #[serde(default)]
    pub session_id: Option<Uuid>,
    /// The API key that the action is about.
    #[serde(default)]
    pub api_key_id: Option<Uuid>,
    /// The roles before, if they changed.
    #[serde(default)]
    pub roles_before: Option<Vec<Role>>,
    /// The roles after, if they changed. Of a rejection: the roles that were requested.
    #[serde(default)]
    pub roles_after: Option<Vec<Role>>,
    /// The address of the client.
    pub ip: Option<String>,
    /// How many equal requests the entry stands for. Frequent ones are recorded together.
    #[serde(default = "one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

/// A page of the audit log, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}
