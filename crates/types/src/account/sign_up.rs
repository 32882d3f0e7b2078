//! From an address to an account.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Secret;

/// The body of `POST /send-verification-code` and `POST /password-reset`; the address
/// alone, as a JSON string, means the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SendCode {
    /// Where the code goes.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
}

/// A code is on its way, if the address is one that gets codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodeSent {
    /// Seconds that the code is good for.
    #[schema(example = 600)]
    pub expires_in: u64,
    /// Seconds until the address may be sent the next one.
    #[schema(example = 60)]
    pub retry_after: u64,
}

/// The body of `POST /verify-email`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyEmail {
    /// The address.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    /// The six digits from the mail.
    #[schema(value_type = String, example = "123456")]
    pub code: Secret,
}

/// The address may be registered now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailVerified {
    /// The address, in lower case.
    pub email: String,
    /// Until when; one registration uses it up.
    pub verified_until: Timestamp,
}

/// The body of `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// An address that was verified before.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    /// Letters, digits, `.`, `_` and `-` of one script. No other account may
    /// have it in another case or one that looks the same.
    #[schema(example = "ada")]
    pub login: String,
    /// Must not be easy to guess.
    #[schema(value_type = String, format = Password)]
    pub password: Secret,
    /// The same again, where the client asks twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub password_confirm: Option<Secret>,
    /// The day of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// Digits, with `+`, spaces, hyphens and brackets as one likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "+44 20 7946 0000")]
    pub phone_number: Option<String>,
}
