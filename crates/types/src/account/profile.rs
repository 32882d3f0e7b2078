//! An account and what its owner changes of it.

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
    /// The account's id (`UUIDv7`).
    pub user_id: Uuid,
    /// The login, as its owner wrote it.
    pub login: String,
    /// The address, in lower case.
    pub email: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The day of birth, if given.
    pub birth_date: Option<Date>,
    /// The phone number, if given.
    pub phone_number: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// The body of `PUT /users/me`. What isn't named stays, what is null is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateAccount {
    /// A new login, by the rules of the registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The day of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// The phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
}

/// The body of `POST /users/me/password`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePassword {
    /// The password until now.
    #[schema(value_type = String, format = Password)]
    pub password: Secret,
    /// The one from now on, by the rules of the registration.
    #[schema(value_type = String, format = Password)]
    pub new_password: Secret,
}

/// The body of `POST /password-reset/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmReset {
    /// The account's address.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    /// The six digits from the mail.
    #[schema(value_type = String, example = "123456")]
    pub code: Secret,
    /// The password from now on, by the rules of the registration.
    #[schema(value_type = String, format = Password)]
    pub new_password: Secret,
}
