//! The sections of the configuration that the whole platform reads.

use miniapp_config::values::{is_http_url, optional};
use miniapp_config::{Config, ConfigError, Section, Validator, check};
use serde::Deserialize;

/// Validates every section: the platform runs all services.
pub fn validate(config: &Config) -> Result<(), ConfigError> {
    config.validate(miniapp_program::SECTIONS)?;
    config.validate(miniapp_auth::PROGRAM.sections)?;
    config.validate(miniapp_api::PROGRAM.sections)?;
    config.validate(miniapp_worker::PROGRAM.sections)?;
    config.validate(&[check::<JaegerConfig>])
}

/// The query service that `miniapp trace` reads from.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JaegerConfig {
    #[serde(deserialize_with = "optional")]
    pub jaeger_url: Option<String>,
}

impl Section for JaegerConfig {
    const NAME: &'static str = "telemetry";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        let is_url = self.jaeger_url.as_deref().is_none_or(is_http_url);
        validator.ensure("jaeger_url", is_url, "must be like http://host:16686")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().chain(&[("HOME", "/home/me")]);
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load_from(None, variables)?;
        validate(&config)?;
        Ok(config)
    }

    #[test]
    fn defaults_are_valid() {
        load(&[]).expect("valid");
    }

    #[test]
    fn every_key_belongs_to_a_validated_section() {
        // A value of the wrong type is an error in whichever section reads the key.
        let config = load(&[]).expect("valid");
        let unread: Vec<&str> = config
            .settings()
            .iter()
            .map(|setting| setting.key.as_str())
            .filter(|key| {
                let directory = tempfile::tempdir().expect("a directory");
                let file = directory.path().join("wrong.toml");
                let (section, name) = key.split_once('.').unwrap_or(("", key));
                let header =
                    if section.is_empty() { String::new() } else { format!("[{section}]\n") };
                std::fs::write(&file, format!("{header}{name} = {{ wrong = 1979-05-27 }}\n"))
                    .expect("written");
                load(&[("MINIAPP_CONFIG", &file.display().to_string())]).is_ok()
            })
            .collect();
        assert!(unread.is_empty(), "{unread:?}");
    }

    #[test]
    fn wrong_value_is_refused_with_its_key_and_source() {
        let cases = [
            ("MINIAPP__API__LISTEN", "localhost", "api.listen"),
            ("MINIAPP__WORKER__CONCURRENCY", "many", "worker.concurrency"),
            ("MINIAPP__WORKER__CONCURRENCY", "0", "worker.concurrency"),
            ("MINIAPP__WORKER__CONCURRENCY", "99999999", "worker.concurrency"),
            ("MINIAPP__WORKER__LEASE", "soon", "worker.lease"),
            ("MINIAPP__WORKER__LEASE", "0s", "worker.lease"),
            ("MINIAPP__WORKER__HTTP_ALLOW_PRIVATE", "perhaps", "worker.http_allow_private"),
            ("MINIAPP__DATABASE__URL", "mongodb://x", "database.url"),
            ("MINIAPP__DATABASE__SYNCHRONOUS", "never", "database.synchronous"),
            ("MINIAPP__DATABASE__CONNECTIONS", "0", "database.connections"),
            ("MINIAPP__BROKER__URL", "", "broker.url"),
            ("MINIAPP__BROKER__CA_FILE", "/ca.pem", "broker.ca_file"),
            ("MINIAPP__LIMITS__TRUSTED_PROXIES", "10.0.0.1/99", "limits.trusted_proxies"),
            ("MINIAPP__LIMITS__TRUSTED_HOPS", "99", "limits.trusted_hops"),
            ("MINIAPP__MAIL__URL", "pop3://host", "mail.url"),
            ("MINIAPP__MAIL__FROM", "nobody", "mail.from"),
            ("MINIAPP__MAIL__TIMEOUT", "1m", "mail.timeout"),
            ("MINIAPP__AUTH__URL", "http://a/", "auth.url"),
            ("MINIAPP__AUTH__URL", "auth:8005", "auth.url"),
            ("MINIAPP__AUTH__SECRET", "short", "auth.secret"),
            ("MINIAPP__AUTH__ACCESS_TTL", "2d", "auth.access_ttl"),
            ("MINIAPP__AUTH__KEY_OVERLAP", "1m", "auth.key_overlap"),
            ("MINIAPP__ADMIN__LISTEN", ":9000", "admin.listen"),
            ("MINIAPP__API__CORS_ORIGINS", "a.example", "api.cors_origins"),
            ("MINIAPP__LOG__LEVEL", "info,=", "log.level"),
            ("MINIAPP__LOG__FORMAT", "xml", "log.format"),
            ("MINIAPP__TELEMETRY__SAMPLER_ARG", "x", "telemetry.sampler_arg"),
            ("MINIAPP__TELEMETRY__SAMPLER", "sometimes", "telemetry.sampler"),
            ("MINIAPP__TELEMETRY__TRACES_EXPORTER", "zipkin", "telemetry.traces_exporter"),
            ("MINIAPP__TELEMETRY__PROPAGATORS", "b3", "telemetry.propagators"),
            ("MINIAPP__TELEMETRY__OTLP_ENDPOINT", "localhost:4317", "telemetry.otlp_endpoint"),
            ("MINIAPP__TELEMETRY__OTLP_PROTOCOL", "http/json", "telemetry.otlp_protocol"),
            ("MINIAPP__TELEMETRY__OTLP_COMPRESSION", "zip", "telemetry.otlp_compression"),
            ("MINIAPP__TELEMETRY__BATCH_SIZE", "0", "telemetry.batch_size"),
            ("MINIAPP__TELEMETRY__JAEGER_URL", "jaeger", "telemetry.jaeger_url"),
        ];
        for (variable, value, key) in cases {
            let variables = match key {
                "telemetry.sampler_arg" => {
                    vec![(variable, value), ("OTEL_TRACES_SAMPLER", "traceidratio")]
                }
                _ => vec![(variable, value)],
            };
            let text = load(&variables).expect_err("refused").to_string();
            assert_eq!(text.lines().count(), 1, "one line: {text}");
            let own = miniapp_config::variable_of(key);
            assert!(text.starts_with(&format!("{key} ({own}) ")), "{text}");
            assert!(text.ends_with(&format!("the environment ({variable})")), "{text}");
        }
    }
}
