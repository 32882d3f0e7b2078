//! The sections that a worker reads.

use std::time::Duration;

use miniapp_broker::BrokerConfig;
use miniapp_config::values::{duration, optional, optional_secret};
use miniapp_config::{ConfigError, Database, Section, SectionCheck, Validator, check};
use miniapp_tasks::RetentionConfig;
use miniapp_types::name::{InvalidName, QueueName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::secret_headers::SecretHeaders;

/// All sections of a worker.
pub(crate) const SECTIONS: &[SectionCheck] =
    &[check::<Database>, check::<BrokerConfig>, check::<RetentionConfig>, check::<WorkerConfig>];

#[derive(Clone, Debug, Deserialize)]
pub struct WorkerConfig {
    #[serde(deserialize_with = "optional")]
    pub name: Option<String>,
    pub concurrency: u16,
    /// The queues from which tasks are taken. Empty: all.
    pub queues: Vec<String>,
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
    pub replicas: u16,
    pub http_allow_private: bool,
    /// Hosts to which `http` tasks send the trace context.
    pub http_trace_hosts: Vec<String>,
    /// Headers of `http` tasks with secret values.
    #[serde(deserialize_with = "optional_secret")]
    pub http_secret_headers: Option<SecretString>,
}

impl WorkerConfig {
    /// Parses the secret headers.
    pub(crate) fn secret_headers(&self) -> Result<SecretHeaders, String> {
        let text = self.http_secret_headers.as_ref().map_or("", ExposeSecret::expose_secret);
        SecretHeaders::parse(text)
    }
}

impl WorkerConfig {
    pub(crate) fn queues(&self) -> Vec<QueueName> {
        self.queues.iter().filter_map(|queue| queue.parse().ok()).collect()
    }
}

impl Section for WorkerConfig {
    const NAME: &'static str = "worker";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        let are_names = self.queues.iter().all(|queue| queue.parse::<QueueName>().is_ok());
        validator.ensure("queues", are_names, &InvalidName.to_string())?;
        let leases = Duration::from_secs(1)..=Duration::from_hours(1);
        validator.range("lease", self.lease, leases)?;
        validator.range("grace", self.grace, Duration::ZERO..=Duration::from_hours(24))?;
        validator.range("concurrency", self.concurrency, 1..=10_000)?;
        validator.range("replicas", self.replicas, 0..=100)?;
        let secrets = self.secret_headers();
        validator.ensure("http_secret_headers", secrets.is_ok(), &secrets.err().unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use miniapp_config::Config;

    use super::WorkerConfig;

    /// Returns the default settings.
    pub(crate) fn defaults() -> WorkerConfig {
        let config = Config::defaults_in(Path::new("/unused"));
        config.and_then(|config| config.section()).expect("valid")
    }
}
