//! The sections `log` and `telemetry`.

use std::str::FromStr;
use std::time::Duration;

use miniapp_config::values::{duration, is_http_url, optional, optional_secret};
use miniapp_config::{ConfigError, Section, Validator};
use secrecy::SecretString;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::sampling::{Sampling, SamplingError};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);

#[derive(Clone, Debug, Deserialize)]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `Text` on a terminal, `Json` elsewhere.
    Auto,
    Text,
    Json,
}

impl Section for LogConfig {
    const NAME: &'static str = "log";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        let is_filter =
            EnvFilter::builder().parse(&self.level).is_ok() && !self.level.trim().is_empty();
        let message = "must be a filter such as info, warn or info,miniapp_http=debug";
        validator.ensure("level", is_filter, message)
    }
}

/// Sampling and export of traces.
#[derive(Clone, Debug, Deserialize)]
pub struct TelemetryConfig {
    pub disabled: bool,
    pub traces_exporter: TracesExporter,
    pub propagators: Vec<Propagator>,
    pub sampler: String,
    pub sampler_arg: String,
    pub otlp_endpoint: String,
    pub otlp_traces_endpoint: String,
    #[serde(deserialize_with = "optional")]
    pub otlp_protocol: Option<OtlpProtocol>,
    #[serde(deserialize_with = "optional_secret")]
    pub otlp_headers: Option<SecretString>,
    pub otlp_compression: OtlpCompression,
    #[serde(deserialize_with = "duration")]
    pub otlp_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub batch_delay: Duration,
    pub batch_size: u32,
    pub queue_size: u32,
    pub resource_attributes: String,
    #[serde(deserialize_with = "optional")]
    pub service_name: Option<String>,
    pub attribute_length: u32,
}

impl TelemetryConfig {
    /// Returns which traces are recorded. By default these are all if they are exported, so that
    /// each can be found; otherwise a few are enough to look at.
    pub(crate) fn sampling(&self) -> Result<Sampling, SamplingError> {
        if self.disabled {
            return Ok(Sampling::OFF);
        }
        let has_endpoint = !self.otlp_endpoint.is_empty() || !self.otlp_traces_endpoint.is_empty();
        let is_exported = has_endpoint && self.traces_exporter == TracesExporter::Otlp;
        let sampler = match self.sampler.as_str() {
            "" if is_exported => "parentbased_always_on",
            "" => "parentbased_ratelimited",
            named => named,
        };
        Sampling::parse(sampler, &self.sampler_arg)
    }
}

impl Section for TelemetryConfig {
    const NAME: &'static str = "telemetry";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        if let Err(error) = self.sampling() {
            validator.ensure(error.key(), false, &error.to_string())?;
        }
        for (key, url) in [
            ("otlp_endpoint", &self.otlp_endpoint),
            ("otlp_traces_endpoint", &self.otlp_traces_endpoint),
        ] {
            let is_valid = url.is_empty() || is_http_url(url);
            validator.ensure(key, is_valid, "must be like http://host:4317")?;
        }
        validator.range("otlp_timeout", self.otlp_timeout, MILLISECOND..=HOUR)?;
        validator.range("batch_delay", self.batch_delay, MILLISECOND..=HOUR)?;
        validator.range("batch_size", self.batch_size, 1..=65_536)?;
        validator.range("queue_size", self.queue_size, 1..=1 << 24)?;
        validator.range("attribute_length", self.attribute_length, 1..=1 << 16)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TracesExporter {
    Otlp,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagator {
    TraceContext,
    Baggage,
    /// Disables the others.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    Grpc,
    Http,
}

impl FromStr for OtlpProtocol {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::Http),
            _ => Err("it must be grpc or http/protobuf"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpCompression {
    None,
    Gzip,
}
