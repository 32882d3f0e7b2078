//! Limits of the fields of request bodies.
//!
//! Each limit is stated once. The readers of the bodies enforce it, and [`describe`] adds it
//! to the OpenAPI document, because attributes of `ToSchema` accept literals only.

use std::ops::RangeInclusive;

use utoipa::Number;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr};

/// Characters of a task's description.
pub const DESCRIPTION: RangeInclusive<usize> = 1..=500;
/// Characters of the name of a kind.
pub const KIND: RangeInclusive<usize> = 1..=64;
/// Seconds that one execution may take.
pub const TTL: RangeInclusive<u32> = 1..=86_400;
pub const ATTEMPTS: RangeInclusive<u32> = 1..=25;
/// Bytes of a task's `data` as JSON.
pub const MAX_DATA_BYTES: usize = 256 * 1024;

/// Bytes of a task's `result` as JSON.
pub const MAX_RESULT_BYTES: usize = 512 * 1024;

/// Characters of the name of a kind or queue.
pub const NAME: RangeInclusive<usize> = 1..=64;
/// Queues that a worker names.
pub const NAMES: RangeInclusive<usize> = 1..=100;
/// Characters of the name of a worker.
pub const WORKER: RangeInclusive<usize> = 1..=100;
/// Kinds of a worker.
pub const WORKER_KINDS: RangeInclusive<usize> = 1..=100;
/// Bytes of the schema or the example of a kind as JSON.
pub const MAX_KIND_DOCUMENT_BYTES: usize = 64 * 1024;
/// Tasks of one claim call.
pub const CLAIMS: RangeInclusive<u32> = 1..=100;
/// Seconds that a claim call may wait.
pub const CLAIM_WAIT: RangeInclusive<u32> = 0..=30;
/// Claims of one heartbeat call.
pub const HEARTBEATS: RangeInclusive<usize> = 0..=1000;
/// Outcomes of one call.
pub const OUTCOMES: RangeInclusive<usize> = 0..=1000;
/// Characters of a message that a worker sends. What is stored is shorter.
pub const REPORT: RangeInclusive<usize> = 0..=100_000;
/// Characters of the code of an error.
pub const ERROR_CODE: RangeInclusive<usize> = 1..=100;
/// Seconds before the next attempt, if the worker chooses them.
pub const RETRY_DELAY: RangeInclusive<u32> = 0..=86_400;

/// Characters of an e-mail address (RFC 5321).
pub const EMAIL: RangeInclusive<usize> = 1..=254;
/// Characters of a login.
pub const LOGIN: RangeInclusive<usize> = 3..=100;
/// Characters of a password that exists.
pub const PASSWORD: RangeInclusive<usize> = 1..=256;
/// Characters of a new password.
pub const NEW_PASSWORD: RangeInclusive<usize> = 10..=*PASSWORD.end();
/// Characters of a code from an e-mail. Longer input is malformed, shorter input a wrong code.
pub const CODE: RangeInclusive<usize> = 1..=64;
/// Characters of a phone number, separators included.
pub const PHONE: RangeInclusive<usize> = 1..=32;
/// Characters of a parameter that filters a list.
pub const FILTER: RangeInclusive<usize> = 1..=500;
/// Characters of the name of a client.
pub const CLIENT: RangeInclusive<usize> = 1..=64;
/// Characters of the name of an API key.
pub const API_KEY_NAME: RangeInclusive<usize> = 1..=100;
/// Characters of a token.
pub const TOKEN: RangeInclusive<usize> = 1..=8192;

enum Limit {
    Length(RangeInclusive<usize>),
    Value(RangeInclusive<u32>),
    Items(RangeInclusive<usize>),
}

/// Schemas, their properties and the limits of those.
const LIMITS: &[(&str, &str, Limit)] = &[
    ("SubmitTask", "description", Limit::Length(DESCRIPTION)),
    ("SubmitTask", "kind", Limit::Length(KIND)),
    ("SubmitTask", "queue", Limit::Length(NAME)),
    ("SubmitTask", "ttl", Limit::Value(TTL)),
    ("SubmitTask", "maxAttempts", Limit::Value(ATTEMPTS)),
    ("VerifyEmail", "code", Limit::Length(CODE)),
    ("ConfirmReset", "code", Limit::Length(CODE)),
    ("Register", "registrationToken", Limit::Length(TOKEN)),
    ("Register", "passwordConfirm", Limit::Length(NEW_PASSWORD)),
    ("Register", "phoneNumber", Limit::Length(PHONE)),
    ("UpdateAccount", "phoneNumber", Limit::Length(PHONE)),
    ("ClaimRequest", "worker", Limit::Length(WORKER)),
    ("ClaimRequest", "kinds", Limit::Items(WORKER_KINDS)),
    ("ClaimRequest", "queues", Limit::Items(NAMES)),
    ("ClaimRequest", "max", Limit::Value(CLAIMS)),
    ("ClaimRequest", "waitSeconds", Limit::Value(CLAIM_WAIT)),
    ("WorkerKind", "name", Limit::Length(NAME)),
    ("WorkerKind", "queue", Limit::Length(NAME)),
    ("WorkerKind", "description", Limit::Length(DESCRIPTION)),
    ("HeartbeatRequest", "worker", Limit::Length(WORKER)),
    ("HeartbeatRequest", "claims", Limit::Items(HEARTBEATS)),
    ("Heartbeat", "message", Limit::Length(REPORT)),
    ("OutcomeRequest", "worker", Limit::Length(WORKER)),
    ("OutcomeRequest", "outcomes", Limit::Items(OUTCOMES)),
    ("AttemptError", "message", Limit::Length(REPORT)),
    ("AttemptError", "code", Limit::Length(ERROR_CODE)),
    ("AttemptError", "retryInSeconds", Limit::Value(RETRY_DELAY)),
    ("SendCode", "email", Limit::Length(EMAIL)),
    ("VerifyEmail", "email", Limit::Length(EMAIL)),
    ("Register", "email", Limit::Length(EMAIL)),
    ("Register", "login", Limit::Length(LOGIN)),
    ("Register", "password", Limit::Length(NEW_PASSWORD)),
    ("UpdateAccount", "login", Limit::Length(LOGIN)),
    ("ChangePassword", "password", Limit::Length(PASSWORD)),
    ("ChangePassword", "newPassword", Limit::Length(NEW_PASSWORD)),
    ("ConfirmReset", "email", Limit::Length(EMAIL)),
    ("ConfirmReset", "newPassword", Limit::Length(NEW_PASSWORD)),
    ("PasswordSignIn", "login", Limit::Length(EMAIL)),
    ("PasswordSignIn", "password", Limit::Length(PASSWORD)),
    ("PasswordSignIn", "client", Limit::Length(CLIENT)),
    ("Refresh", "refreshToken", Limit::Length(TOKEN)),
    ("Validate", "token", Limit::Length(TOKEN)),
    ("CreateApiKey", "name", Limit::Length(API_KEY_NAME)),
];

/// Adds the limits to the schemas of request bodies.
pub fn describe(openapi: &mut OpenApi) {
    let Some(components) = &mut openapi.components else { return };
    for (name, property, limit) in LIMITS {
        if let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(*name)
            && let Some(RefOr::T(property)) = schema.properties.get_mut(*property)
        {
            limit.describe(property);
        }
    }
}

impl Limit {
    fn describe(&self, property: &mut Schema) {
        match (self, property) {
            (Self::Length(range), Schema::Object(property)) => {
                property.min_length = Some(*range.start());
                property.max_length = Some(*range.end());
            }
            (Self::Value(range), Schema::Object(property)) => {
                property.minimum = Some(Number::from(*range.start()));
                property.maximum = Some(Number::from(*range.end()));
            }
            (Self::Items(range), Schema::Array(property)) => {
                property.min_items = Some(*range.start());
                property.max_items = Some(*range.end());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    use super::*;
    use crate::account::{
        ChangePassword, ConfirmReset, CreateApiKey, PasswordSignIn, Refresh, Register, SendCode,
        UpdateAccount, Validate, VerifyEmail,
    };
    use crate::task::SubmitTask;
    use crate::worker::{
        AttemptError, ClaimRequest, Heartbeat, HeartbeatRequest, OutcomeRequest, WorkerKind,
    };

    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(
        SubmitTask,
        ClaimRequest,
        WorkerKind,
        HeartbeatRequest,
        Heartbeat,
        OutcomeRequest,
        AttemptError,
        SendCode,
        VerifyEmail,
        Register,
        UpdateAccount,
        ChangePassword,
        ConfirmReset,
        PasswordSignIn,
        Refresh,
        Validate,
        CreateApiKey,
    )))]
    struct Document;

    #[test]
    fn every_limit_is_described() {
        let mut openapi = Document::openapi();
        describe(&mut openapi);
        let document = serde_json::to_value(&openapi).expect("JSON");
        for (name, property, limit) in LIMITS {
            let described = &document["components"]["schemas"][name]["properties"][property];
            match limit {
                Limit::Length(range) => {
                    assert_eq!(described["maxLength"], *range.end(), "{name}.{property}");
                }
                Limit::Value(range) => {
                    assert_eq!(described["maximum"], *range.end(), "{name}.{property}");
                }
                Limit::Items(range) => {
                    assert_eq!(described["maxItems"], *range.end(), "{name}.{property}");
                }
            }
        }
    }
}
