//! The section `limits`, and what HTTP servers read of `api` and `telemetry`.

use std::time::Duration;

use ipnet::IpNet;
use miniapp_config::values::{duration, is_http_url, size};
use miniapp_config::{ConfigError, Section, Validator};
use serde::Deserialize;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Limits of connections and requests.
#[derive(Clone, Debug, Deserialize)]
pub struct LimitConfig {
    pub trusted_proxies: Vec<IpNet>,
    pub trusted_hops: u8,
    pub connections: u32,
    pub connections_per_client: u32,
    #[serde(deserialize_with = "size")]
    pub request_memory: usize,
    #[serde(deserialize_with = "size")]
    pub body: usize,
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "size")]
    pub body_rate: usize,
    #[serde(deserialize_with = "duration")]
    pub write_timeout: Duration,
}

impl Section for LimitConfig {
    const NAME: &'static str = "limits";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.range("header_timeout", self.header_timeout, SECOND..=HOUR)?;
        validator.range("body_timeout", self.body_timeout, SECOND..=HOUR)?;
        validator.range("write_timeout", self.write_timeout, SECOND..=HOUR)?;
        validator.range("trusted_hops", self.trusted_hops, 0..=16)?;
        validator.range("connections", self.connections, 1..=1_000_000)?;
        validator.range("connections_per_client", self.connections_per_client, 0..=1_000_000)?;
        validator.range("request_memory", self.request_memory, 1 << 20..=1 << 40)?;
        validator.range("body_rate", self.body_rate, 0..=1 << 30)?;
        validator.range("body", self.body, 1024..=1 << 30)
    }
}

/// The web origins that may call any of the services; the section is named after the one
/// that browsers call most.
#[derive(Clone, Debug, Deserialize)]
pub struct CorsConfig {
    pub cors_origins: Vec<String>,
}

impl Section for CorsConfig {
    const NAME: &'static str = "api";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        let is_origin =
            |origin: &String| origin == "*" || (is_http_url(origin) && !origin.ends_with('/'));
        let are_origins = self.cors_origins.iter().all(is_origin);
        let message = "must be origins such as https://app.example.com";
        validator.ensure("cors_origins", are_origins, message)
    }
}

/// The baggage that becomes attributes of request spans.
#[derive(Clone, Debug, Deserialize)]
pub struct BaggageConfig {
    pub baggage_keys: Vec<String>,
}

impl Section for BaggageConfig {
    const NAME: &'static str = "telemetry";
}
