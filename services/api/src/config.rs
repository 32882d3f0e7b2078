//! The sections that this service reads.

use std::net::SocketAddr;

use miniapp_broker::BrokerConfig;
use miniapp_config::values::{is_http_url, optional};
use miniapp_config::{ConfigError, Database, Section, SectionCheck, Validator, check};
use miniapp_http::{BaggageConfig, CorsConfig, LimitConfig};
use miniapp_tasks::{LeaseConfig, RetentionConfig};
use miniapp_types::name::{InvalidName, check_name};
use serde::Deserialize;

/// All sections of the service.
pub(crate) const SECTIONS: &[SectionCheck] = &[
    check::<Database>,
    check::<BrokerConfig>,
    check::<RetentionConfig>,
    check::<LeaseConfig>,
    check::<LimitConfig>,
    check::<CorsConfig>,
    check::<BaggageConfig>,
    check::<StreamConfig>,
    check::<SubmitConfig>,
    check::<ApiConfig>,
    check::<AuthServerConfig>,
];

/// Limits of event streams.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct StreamConfig {
    pub streams: u32,
    pub streams_per_account: u32,
}

impl Section for StreamConfig {
    const NAME: &'static str = "limits";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.range("streams", self.streams, 1..=1_000_000)?;
        validator.range("streams_per_account", self.streams_per_account, 1..=1_000_000)
    }
}

/// The setting of the section `tasks` for submits.
#[derive(Clone, Debug, Deserialize)]
pub struct SubmitConfig {
    #[serde(deserialize_with = "optional")]
    pub default_kind: Option<String>,
}

impl Section for SubmitConfig {
    const NAME: &'static str = "tasks";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        let is_name = self.default_kind.as_deref().is_none_or(|kind| check_name(kind).is_ok());
        validator.ensure("default_kind", is_name, &InvalidName.to_string())
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    pub accept_unverified_deletions: bool,
}

impl Section for ApiConfig {
    const NAME: &'static str = "api";
}

/// The service that issues the tokens.
#[derive(Clone, Debug, Deserialize)]
pub struct AuthServerConfig {
    pub url: String,
}

impl Section for AuthServerConfig {
    const NAME: &'static str = "auth";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        let is_base_url = is_http_url(&self.url) && !self.url.ends_with('/');
        let message = "must be like http://host:8005, without a slash at the end";
        validator.ensure("url", is_base_url, message)
    }
}
