//! The sections that this service reads.

use std::net::SocketAddr;

use miniapp_broker::BrokerConfig;
use miniapp_config::values::is_http_url;
use miniapp_config::{ConfigError, Database, Section, SectionCheck, Validator, check};
use miniapp_http::{BaggageConfig, CorsConfig, LimitConfig};
use miniapp_tasks::{LeaseConfig, RetentionConfig};
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
