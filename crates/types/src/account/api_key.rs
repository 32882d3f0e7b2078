//! API keys: credentials for scripts and workers.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use strum::IntoEnumIterator as _;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Secret;
use crate::fields::{Fields, FromFields};
use crate::limits;

/// The start of every key. Logs and spans omit what follows it.
pub const API_KEY_PREFIX: &str = "mak_";

/// More names in one request are rejected without looking at each.
const MAX_NAMES: usize = 100;

/// What an API key may do. A session may do everything that the roles of its account allow.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
pub enum Scope {
    /// Reads the owner's tasks and events, and the state of the platform.
    #[serde(rename = "tasks:read")]
    #[strum(serialize = "tasks:read")]
    TasksRead,
    /// Submits, restarts, cancels and deletes the owner's tasks.
    #[serde(rename = "tasks:write")]
    #[strum(serialize = "tasks:write")]
    TasksWrite,
    /// Changes the owner's schedules.
    #[serde(rename = "schedules:write")]
    #[strum(serialize = "schedules:write")]
    SchedulesWrite,
    /// Runs tasks of any owner. Requires the role `admin`.
    #[serde(rename = "worker")]
    #[strum(serialize = "worker")]
    Worker,
    /// Reads the data of all accounts. Requires the role `admin`.
    #[serde(rename = "admin:read")]
    #[strum(serialize = "admin:read")]
    AdminRead,
    /// Changes the data of all accounts. Requires the role `admin`.
    #[serde(rename = "admin:write")]
    #[strum(serialize = "admin:write")]
    AdminWrite,
}

impl Scope {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether only accounts with the role `admin` may use it.
    pub fn requires_admin(self) -> bool {
        match self {
            Self::TasksRead | Self::TasksWrite | Self::SchedulesWrite => false,
            Self::Worker | Self::AdminRead | Self::AdminWrite => true,
        }
    }
}

/// The body of `POST /api-keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateApiKey {
    /// What the key is for.
    #[schema(example = "nightly import")]
    pub name: String,
    /// What the key may do. `worker`, `admin:read` and `admin:write` are for admins.
    #[schema(min_items = 1, example = json!(["tasks:read", "tasks:write"]))]
    pub scopes: Vec<Scope>,
    /// When the key expires. By default it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl FromFields for CreateApiKey {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.text("name", limits::API_KEY_NAME);
        let scopes = read_scopes(fields);
        let expires_at = fields.optional(|fields| fields.timestamp("expiresAt"), "expiresAt");
        Some(Self { name: name?, scopes: scopes?, expires_at })
    }
}

/// Reads the scopes, each of them once.
fn read_scopes(fields: &mut Fields) -> Option<Vec<Scope>> {
    let names = fields.texts("scopes")?;
    if names.is_empty() {
        fields.reject("scopes", "must name at least one scope");
    }
    let mut scopes = Vec::new();
    for (index, name) in names.iter().enumerate().take(MAX_NAMES) {
        match name.parse() {
            Ok(scope) => scopes.push(scope),
            Err(_) => fields.reject(&format!("scopes[{index}]"), known_scopes()),
        }
    }
    scopes.sort();
    scopes.dedup();
    Some(scopes)
}

fn known_scopes() -> String {
    let names: Vec<&str> = Scope::iter().map(Scope::name).collect();
    format!("must be one of {}", names.join(", "))
}

/// An API key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    pub id: Uuid,
    pub name: String,
    /// The first characters of the key, which identify it.
    #[schema(example = "mak_4fQ9zR1b")]
    pub prefix: String,
    #[serde(deserialize_with = "known")]
    pub scopes: Vec<Scope>,
    pub created_at: Timestamp,
    /// When it expires; null if it does not.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to about a minute; null if it was not.
    pub last_used_at: Option<Timestamp>,
}

/// A new API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewApiKey {
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// The key, for `Authorization: Bearer`. It is not shown again.
    #[schema(value_type = String)]
    pub key: Secret,
}

/// The response of `GET /api-keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeys {
    /// Newest first. Expired keys are listed until they are deleted, at most 30 days.
    pub api_keys: Vec<ApiKey>,
}

/// The API key that was checked by `POST /validate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyInfo {
    pub id: Uuid,
    /// What the key may do, as far as the roles of its owner allow it.
    #[serde(deserialize_with = "known")]
    pub scopes: Vec<Scope>,
    /// Grows when the roles of the owner change.
    pub epoch: u32,
}

/// Ignores scopes of later versions.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Scope>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fields::BodyError;

    fn rejected_fields(body: Value) -> Vec<String> {
        match CreateApiKey::from_body(body) {
            Err(BodyError::Fields(errors)) => errors.into_iter().map(|error| error.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_scopes_are_the_same_everywhere() {
        for scope in Scope::iter() {
            assert_eq!(json!(scope), scope.name());
            assert_eq!(scope.name().parse(), Ok(scope));
        }
    }

    #[test]
    fn request_is_read() {
        let body = json!({
            "name": "ci", "scopes": ["worker", "tasks:read", "worker"],
            "expiresAt": "2030-01-31T12:00:00Z",
        });
        let read = CreateApiKey::from_body(body).expect("readable");
        assert_eq!(read.scopes, [Scope::TasksRead, Scope::Worker]);
        assert_eq!(read.expires_at, "2030-01-31T12:00:00Z".parse().ok());
        let body = json!({"name": "n".repeat(100), "scopes": ["tasks:read"], "expiresAt": null});
        assert_eq!(CreateApiKey::from_body(body).expect("readable").expires_at, None);
    }

    #[test]
    fn every_invalid_field_is_reported() {
        let body = json!({"scopes": ["x", "tasks:read", ""], "expiresAt": "soon", "key": "k"});
        let rejected = rejected_fields(body);
        assert_eq!(rejected, ["name", "scopes[0]", "scopes[2]", "expiresAt", "key"]);
        for scopes in [json!([]), json!("tasks:read"), json!([1]), json!(null)] {
            assert_eq!(rejected_fields(json!({"name": "n", "scopes": scopes})), ["scopes"]);
        }
        for name in [String::new(), "n".repeat(101)] {
            let body = json!({"name": name, "scopes": ["tasks:write"]});
            assert_eq!(rejected_fields(body), ["name"]);
        }
    }

    #[test]
    fn scopes_of_later_versions_are_ignored() {
        let info = json!({"id": Uuid::nil(), "scopes": ["tasks:read", "x:y"], "epoch": 1});
        let info: ApiKeyInfo = serde_json::from_value(info).expect("readable");
        assert_eq!(info.scopes, [Scope::TasksRead]);
    }
}
