//! The sections `auth`, `codes`, `mail` and `limits`, as far as accounts depend on them.

use std::time::Duration;

use miniapp_config::values::{duration, optional, optional_secret};
use miniapp_config::{ConfigError, EngineUrl, Section, Validator};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::published_secrets::is_published;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// In bytes.
pub(crate) const MIN_SECRET_LENGTH: usize = 32;

/// Tokens, sessions and signing keys.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenConfig {
    #[serde(deserialize_with = "optional_secret")]
    pub secret: Option<SecretString>,
    #[serde(deserialize_with = "optional_secret")]
    pub secret_previous: Option<SecretString>,
    pub allow_published_secret: bool,
    #[serde(deserialize_with = "optional")]
    pub admin_email: Option<String>,
    #[serde(deserialize_with = "duration")]
    pub access_ttl: Duration,
    #[serde(deserialize_with = "duration")]
    pub refresh_ttl: Duration,
    #[serde(deserialize_with = "duration")]
    pub refresh_grace: Duration,
    pub sessions_per_user: u32,
    pub api_keys_per_user: u32,
    #[serde(deserialize_with = "duration")]
    pub key_rotation: Duration,
    #[serde(deserialize_with = "duration")]
    pub key_overlap: Duration,
}

impl Section for TokenConfig {
    const NAME: &'static str = "auth";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.range("access_ttl", self.access_ttl, SECOND..=DAY)?;
        validator.range("refresh_ttl", self.refresh_ttl, SECOND..=3650 * DAY)?;
        validator.range("refresh_grace", self.refresh_grace, Duration::ZERO..=5 * MINUTE)?;
        validator.range("key_rotation", self.key_rotation, MINUTE..=3650 * DAY)?;
        validator.range("key_overlap", self.key_overlap, self.access_ttl..=3650 * DAY)?;
        validator.ensure(
            "refresh_ttl",
            self.refresh_ttl >= self.access_ttl,
            "must not be shorter than auth.access_ttl",
        )?;
        validator.range("sessions_per_user", self.sessions_per_user, 1..=1000)?;
        validator.range("api_keys_per_user", self.api_keys_per_user, 0..=1000)?;
        for (key, secret) in [("secret", &self.secret), ("secret_previous", &self.secret_previous)]
        {
            let length = secret.as_ref().map(|secret| secret.expose_secret().len());
            validator.ensure(
                key,
                length.is_none_or(|length| length >= MIN_SECRET_LENGTH),
                "must have at least 32 characters (openssl rand -base64 32 makes one)",
            )?;
        }
        // The previous one may be published: that is a reason to replace it.
        let secret = self.secret.as_ref().map(SecretString::expose_secret);
        validator.ensure(
            "secret",
            self.allow_published_secret || !secret.is_some_and(is_published),
            "is published with MiniApp, so that anyone can sign tokens: set another one \
             (openssl rand -base64 32 makes one), and auth.secret_previous to this one if it was in use",
        )?;
        let email = self.admin_email.as_deref();
        let is_email = email.is_none_or(|email| email.contains('@'));
        validator.ensure("admin_email", is_email, "must be an e-mail address")
    }
}

/// Verification codes.
#[derive(Clone, Debug, Deserialize)]
pub struct CodeConfig {
    #[serde(deserialize_with = "duration")]
    pub ttl: Duration,
    pub tries: u32,
    #[serde(deserialize_with = "duration")]
    pub cooldown: Duration,
    pub per_day: u32,
}

impl Section for CodeConfig {
    const NAME: &'static str = "codes";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.range("ttl", self.ttl, SECOND..=DAY)?;
        validator.range("cooldown", self.cooldown, Duration::ZERO..=DAY)?;
        validator.range("tries", self.tries, 1..=100)?;
        validator.range("per_day", self.per_day, 1..=1_000_000)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct MailConfig {
    pub url: EngineUrl,
    pub from: String,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

impl Section for MailConfig {
    const NAME: &'static str = "mail";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.engine("url", &self.url, &["inbox", "smtp", "smtps"])?;
        validator.range("timeout", self.timeout, SECOND..=20 * SECOND)?;
        let is_address = self.from.contains('@') && !self.from.contains(['\r', '\n']);
        validator.ensure("from", is_address, "must be an e-mail address, such as Me <me@host>")
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct SignInLimits {
    pub sign_in_failures: u32,
}

impl Section for SignInLimits {
    const NAME: &'static str = "limits";
}
