//! Limits of the fields of request bodies.
//!
//! Each limit is stated once. The readers of the bodies enforce it, and [`describe`] adds it
//! to the OpenAPI document, because attributes of `ToSchema` accept literals only.

use std::ops::RangeInclusive;

use utoipa::Number;
use utoipa::openapi::schema::{Object, Schema};
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

/// Characters of an e-mail address (RFC 5321).
pub const EMAIL: RangeInclusive<usize> = 1..=254;
/// Characters of a login.
pub const LOGIN: RangeInclusive<usize> = 3..=100;
/// Characters of a password that exists.
pub const PASSWORD: RangeInclusive<usize> = 1..=256;
/// Characters of a new password.
pub const NEW_PASSWORD: RangeInclusive<usize> = 10..=*PASSWORD.end();
/// Characters of the name of a client.
pub const CLIENT: RangeInclusive<usize> = 1..=64;
/// Characters of a token.
pub const TOKEN: RangeInclusive<usize> = 1..=8192;

enum Limit {
    Length(RangeInclusive<usize>),
    Value(RangeInclusive<u32>),
}

/// Schemas, their properties and the limits of those.
const LIMITS: [(&str, &str, Limit); 17] = [
    ("SubmitTask", "description", Limit::Length(DESCRIPTION)),
    ("SubmitTask", "kind", Limit::Length(KIND)),
    ("SubmitTask", "ttl", Limit::Value(TTL)),
    ("SubmitTask", "maxAttempts", Limit::Value(ATTEMPTS)),
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
    ("SignIn", "login", Limit::Length(EMAIL)),
    ("SignIn", "password", Limit::Length(PASSWORD)),
    ("SignIn", "client", Limit::Length(CLIENT)),
];

/// Adds the limits to the schemas of request bodies.
pub fn describe(openapi: &mut OpenApi) {
    let Some(components) = &mut openapi.components else { return };
    for (name, property, limit) in LIMITS {
        if let Some(RefOr::T(schema)) = components.schemas.get_mut(name) {
            describe_property(schema, property, &limit);
        }
    }
}

fn describe_property(schema: &mut Schema, name: &str, limit: &Limit) {
    match schema {
        Schema::Object(object) => {
            if let Some(RefOr::T(Schema::Object(property))) = object.properties.get_mut(name) {
                limit.describe(property);
            }
        }
        Schema::OneOf(variants) => {
            for variant in &mut variants.items {
                if let RefOr::T(schema) = variant {
                    describe_property(schema, name, limit);
                }
            }
        }
        _ => {}
    }
}

impl Limit {
    fn describe(&self, property: &mut Object) {
        match self {
            Self::Length(range) => {
                property.min_length = Some(*range.start());
                property.max_length = Some(*range.end());
            }
            Self::Value(range) => {
                property.minimum = Some(Number::from(*range.start()));
                property.maximum = Some(Number::from(*range.end()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    use super::*;
    use crate::account::{
        ChangePassword, ConfirmReset, Register, SendCode, SignIn, UpdateAccount, VerifyEmail,
    };
    use crate::task::SubmitTask;

    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(
        SubmitTask,
        SendCode,
        VerifyEmail,
        Register,
        UpdateAccount,
        ChangePassword,
        ConfirmReset,
        SignIn,
    )))]
    struct Document;

    #[test]
    fn every_limit_is_described() {
        let mut openapi = Document::openapi();
        describe(&mut openapi);
        let document = serde_json::to_value(&openapi).expect("JSON");
        for (name, property, limit) in LIMITS {
            let schema = &document["components"]["schemas"][name];
            let variants = schema["oneOf"].as_array().into_iter().flatten();
            let described = std::iter::once(schema)
                .chain(variants)
                .map(|schema| &schema["properties"][property])
                .find(|property| !property.is_null())
                .unwrap_or_else(|| panic!("{name} lacks {property}"));
            match limit {
                Limit::Length(range) => {
                    assert_eq!(described["maxLength"], *range.end(), "{name}.{property}");
                }
                Limit::Value(range) => {
                    assert_eq!(described["maximum"], *range.end(), "{name}.{property}");
                }
            }
        }
    }
}
