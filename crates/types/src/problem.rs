//! Problem documents (RFC 9457) and the stable codes they carry.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The stable code of an error, for clients to branch on.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    /// The request breaks a rule of HTTP, such as that it names one host.
    MalformedRequest,
    /// The body is not JSON, is cut off, or is not an object.
    MalformedBody,
    /// Fields are missing, unknown, of the wrong type, too long or out of range.
    InvalidFields,
    /// The `Idempotency-Key` came before with another body.
    IdempotencyKeyReused,
    /// The body's content type is not JSON.
    UnsupportedMediaType,
    /// The body or one of its parts exceeds its limit.
    BodyTooLarge,
    /// The request took too long to arrive.
    RequestTimeout,
    /// No bearer token came with the request.
    TokenMissing,
    /// The token is malformed, forged or unknown.
    TokenInvalid,
    /// The token's time is over.
    TokenExpired,
    /// The token was replaced by a newer one, or its session ended.
    TokenRevoked,
    /// The refresh token was used before; its session has been ended.
    TokenReused,
    /// Login and password don't match an account.
    CredentialsInvalid,
    /// An administrator has disabled the account.
    AccountDisabled,
    /// The caller is known but may not do this.
    Forbidden,
    /// The API key lacks the scope that the operation requires.
    ScopeMissing,
    /// The e-mail address has no open verification.
    EmailNotVerified,
    /// The current password is wrong.
    PasswordWrong,
    /// The code is wrong, used, old or unknown.
    CodeInvalid,
    /// Another account has this login.
    LoginTaken,
    /// Another account has this e-mail address.
    EmailTaken,
    /// No enabled account would have the role `admin`.
    LastAdmin,
    /// The account has as many API keys as it may have.
    ApiKeyLimit,
    /// No such session of the caller.
    SessionNotFound,
    /// No such API key of the caller.
    ApiKeyNotFound,
    /// No such account.
    UserNotFound,
    /// No such task, or someone else's.
    TaskNotFound,
    /// Only a task that has ended can be restarted.
    TaskNotFinished,
    /// The task has ended and can't be canceled.
    TaskAlreadyFinished,
    /// The task has another version than `If-Match` demands.
    VersionConflict,
    /// No such path.
    NotFound,
    /// The path exists but not with this method.
    MethodNotAllowed,
    /// Too many requests; `Retry-After` has the time to wait.
    TooManyRequests,
    /// A dependency is down and the work can't be accepted now.
    Unavailable,
    /// An internal error.
    Internal,
}

impl Code {
    /// Returns the default HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::MalformedRequest | Self::MalformedBody | Self::CodeInvalid => 400,
            Self::TokenMissing
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::TokenReused
            | Self::CredentialsInvalid => 401,
            Self::AccountDisabled
            | Self::Forbidden
            | Self::ScopeMissing
            | Self::EmailNotVerified
            | Self::PasswordWrong => 403,
            Self::SessionNotFound
            | Self::ApiKeyNotFound
            | Self::UserNotFound
            | Self::TaskNotFound
            | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::LoginTaken
            | Self::EmailTaken
            | Self::LastAdmin
            | Self::ApiKeyLimit
            | Self::TaskNotFinished
            | Self::TaskAlreadyFinished => 409,
            Self::VersionConflict => 412,
            Self::BodyTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidFields | Self::IdempotencyKeyReused => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// Returns a short sentence for people, the same for every occurrence.
    pub fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request is not valid HTTP",
            Self::MalformedBody => "The body is not a JSON object",
            Self::InvalidFields => "Some fields are not acceptable",
            Self::IdempotencyKeyReused => "The idempotency key was used with another body",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::BodyTooLarge => "The body is too large",
            Self::RequestTimeout => "The request took too long to arrive",
            Self::TokenMissing => "A bearer token is needed",
            Self::TokenInvalid => "The token is not valid",
            Self::TokenExpired => "The token has expired",
            Self::TokenRevoked => "The token was revoked or replaced by a newer one",
            Self::TokenReused => "The refresh token was used before; its session has ended",
            Self::CredentialsInvalid => "Login or password is wrong",
            Self::AccountDisabled => "The account is disabled",
            Self::Forbidden => "This account may not do that",
            Self::ScopeMissing => "The API key lacks the required scope",
            Self::EmailNotVerified => "The e-mail address has not been verified",
            Self::PasswordWrong => "The current password is wrong",
            Self::CodeInvalid => "The code is not valid",
            Self::LoginTaken => "The login is taken",
            Self::EmailTaken => "The e-mail address is taken",
            Self::LastAdmin => "The account is the last admin",
            Self::ApiKeyLimit => "The account has too many API keys",
            Self::SessionNotFound => "No such session",
            Self::ApiKeyNotFound => "No such API key",
            Self::UserNotFound => "No such account",
            Self::TaskNotFound => "No such task",
            Self::TaskNotFinished => "The task has not ended yet",
            Self::TaskAlreadyFinished => "The task has already ended",
            Self::VersionConflict => "The task has changed",
            Self::NotFound => "No such page",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::TooManyRequests => "Too many requests",
            Self::Unavailable => "The service can't take this now",
            Self::Internal => "Something went wrong on our side",
        }
    }
}

/// An error of a field of a body or query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field as the client wrote it; empty where the body as a whole is meant.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// The body of every error: `application/problem+json`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:miniapp:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's sentence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Describes this occurrence, if there is more to say than the title.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
    /// The stable code. New ones may be added.
    #[schema(value_type = String, example = "invalid_fields")]
    pub code: Code,
    /// The trace of this request, also in the header `x-trace-id`.
    pub trace_id: String,
    /// The errors of the fields of a body or query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// Creates a problem with the type, title and status of its code.
    pub fn new(code: Code, trace_id: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:miniapp:problem:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: None,
            code,
            trace_id: trace_id.into(),
            errors: Vec::new(),
        }
    }
}
