//! Verification of addresses and registration.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Secret;

/// The body of `POST /send-verification-code` and `POST /password-reset`; or the address as a
/// bare JSON string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SendCode {
    /// The address that the code is sent to.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
}

/// The response to a request for a code, whether or not one is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodeSent {
    /// Seconds until the code expires.
    #[schema(example = 600)]
    pub expires_in: u64,
    /// Seconds until another code may be requested.
    #[schema(example = 60)]
    pub retry_after: u64,
}

/// The body of `POST /verify-email`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyEmail {
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    /// The six digits from the e-mail.
    #[schema(value_type = String, example = "123456")]
    pub code: Secret,
}

/// The address may be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailVerified {
    /// In lower case.
    pub email: String,
    /// The verification is valid until then, for one registration.
    pub verified_until: Timestamp,
    /// Registers the address. The response also sets it as the cookie `registration`.
    #[schema(value_type = String)]
    pub registration_token: Secret,
}

/// The body of `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// A verified address.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    /// The token of the verification. Clients that store cookies may omit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub registration_token: Option<Secret>,
    /// Letters, digits, `.`, `_` and `-` of one script. No other account may
    /// have it in another case or one that looks the same.
    #[schema(example = "ada")]
    pub login: String,
    /// Must not be easy to guess.
    #[schema(value_type = String, format = Password)]
    pub password: Secret,
    /// The same password, if the client asks for it twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub password_confirm: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// Digits; `+`, spaces, hyphens and parentheses are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "+44 20 7946 0000")]
    pub phone_number: Option<String>,
}
