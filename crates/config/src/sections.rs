//! The sections of the configuration; the default file explains each key.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

use super::values::{EngineUrl, duration, optional, optional_secret, size};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: EngineUrl,
    pub synchronous: Synchronous,
    pub connections: u32,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The disk.
    Full,
    /// The operating system.
    Normal,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    pub url: EngineUrl,
    #[serde(deserialize_with = "optional")]
    pub ca_file: Option<String>,
}

impl Broker {
    /// The URL, with what is set beside it.
    pub fn address(&self) -> EngineUrl {
        match &self.ca_file {
            Some(file) => self.url.with("cacertfile", file),
            None => self.url.clone(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub url: EngineUrl,
    pub from: String,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub listen: SocketAddr,
    pub url: String,
    #[serde(deserialize_with = "optional_secret")]
    pub secret: Option<SecretString>,
    #[serde(deserialize_with = "optional")]
    pub admin_email: Option<String>,
    #[serde(deserialize_with = "duration")]
    pub access_ttl: Duration,
    #[serde(deserialize_with = "duration")]
    pub refresh_ttl: Duration,
    pub sessions_per_user: u32,
    #[serde(deserialize_with = "duration")]
    pub key_rotation: Duration,
    #[serde(deserialize_with = "duration")]
    pub key_overlap: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    pub cors_origins: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    #[serde(deserialize_with = "optional")]
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    #[serde(deserialize_with = "optional")]
    pub name: Option<String>,
    pub concurrency: u16,
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
    pub replicas: u16,
    pub http_allow_private: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    #[serde(deserialize_with = "duration")]
    pub ttl: Duration,
    pub tries: u32,
    #[serde(deserialize_with = "duration")]
    pub cooldown: Duration,
    pub per_day: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub per_ip: u32,
    pub trusted_proxies: Vec<IpNet>,
    pub sign_in_failures: u32,
    pub connections: u32,
    #[serde(deserialize_with = "size")]
    pub body: usize,
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub write_timeout: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    #[serde(deserialize_with = "duration")]
    pub deleted_retention: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `Text` on a terminal, `Json` elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub sampler: String,
    pub sampler_arg: String,
    pub otlp_endpoint: String,
    pub otlp_traces_endpoint: String,
    pub otlp_metrics_endpoint: String,
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
    pub metrics_exporter: MetricsExporter,
    #[serde(deserialize_with = "duration")]
    pub metric_interval: Duration,
    pub resource_attributes: String,
    #[serde(deserialize_with = "optional")]
    pub service_name: Option<String>,
    pub attribute_length: u32,
    pub baggage_keys: Vec<String>,
    #[serde(deserialize_with = "optional")]
    pub jaeger_url: Option<String>,
}

/// What is spoken with a collector.
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

/// How what is sent to a collector is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpCompression {
    None,
    Gzip,
}

/// Whether metrics are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsExporter {
    Otlp,
    None,
}
