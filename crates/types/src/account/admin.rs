//! What administrators see and do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Account, Role};
use crate::fields::{Fields, FromFields};

/// The body of `PUT /users/{id}/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetRoles {
    /// What the account may do from now on.
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

/// A page of accounts, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountPage {
    /// The accounts.
    pub users: Vec<Account>,
    /// Give it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Something that was done with an account, or tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// What, in `snake_case`.
    #[schema(example = "sign_in")]
    pub action: String,
    /// `ok`, or the code of the refusal.
    #[schema(example = "ok")]
    pub outcome: String,
    /// The account, where it is known.
    pub user_id: Option<Uuid>,
    /// Its login at that time.
    pub login: Option<String>,
    /// Where the request came from.
    pub ip: Option<String>,
}

/// A page of the audit log, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Give it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}
