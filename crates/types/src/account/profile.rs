//! Accounts and their changes.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Role, Secret};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// A UUIDv7.
    pub user_id: Uuid,
    /// As its owner wrote it.
    pub login: String,
    /// In lower case.
    pub email: String,
    pub roles: Vec<Role>,
    pub birth_date: Option<Date>,
    pub phone_number: Option<String>,
    pub created_at: Timestamp,
    /// Whether an administrator has disabled it. Then it cannot sign in.
    #[serde(default)]
    #[schema(required = true)]
    pub disabled: bool,
}

/// The body of `PUT /users/me`. Absent fields are kept, null removes a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateAccount {
    /// The new login, by the rules of the registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
}

/// The body of `POST /users/me/password`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePassword {
    /// The current password.
    #[schema(value_type = String, format = Password)]
    pub password: Secret,
    /// The new password, by the rules of the registration.
    #[schema(value_type = String, format = Password)]
    pub new_password: Secret,
}

/// The body of `POST /password-reset/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmReset {
    /// The address of the account.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    /// The eight letters and digits from the e-mail, in any case.
    #[schema(value_type = String, example = "7K3M9QXB")]
    pub code: Secret,
    /// The new password, by the rules of the registration.
    #[schema(value_type = String, format = Password)]
    pub new_password: Secret,
}
