//! The section `broker`.

use miniapp_config::values::optional;
use miniapp_config::{ConfigError, EngineUrl, Section, Validator};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct BrokerConfig {
    pub url: EngineUrl,
    #[serde(deserialize_with = "optional")]
    pub ca_file: Option<String>,
}

impl BrokerConfig {
    /// Returns the URL with the certificate file as a parameter.
    pub fn address(&self) -> EngineUrl {
        match &self.ca_file {
            Some(file) => self.url.with_parameter("cacertfile", file),
            None => self.url.clone(),
        }
    }
}

impl Section for BrokerConfig {
    const NAME: &'static str = "broker";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.engine("url", &self.url, &["memory", "amqp", "amqps"])?;
        // A certificate file is useless without TLS, and its presence says that TLS is wanted.
        let uses_tls = self.ca_file.is_none() || self.url.scheme() == "amqps";
        validator.ensure("ca_file", uses_tls, "needs a broker.url that begins with amqps://")
    }
}
