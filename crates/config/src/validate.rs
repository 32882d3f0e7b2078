//! What a value of the right type must besides be.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tracing_subscriber::EnvFilter;

use super::layers::Layers;
use super::{Config, ConfigError, EngineUrl};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const SECRET_LENGTH: usize = 32;

impl Config {
    pub(super) fn validate(&self, layers: &Layers) -> Result<(), ConfigError> {
        let check = Check(layers);
        self.validate_urls(check)?;
        self.validate_durations(check)?;
        self.validate_counts(check)?;
        let secret = self.auth.secret.as_ref().map(|secret| secret.expose_secret().len());
        check.that(
            "auth.secret",
            secret.is_none_or(|length| length >= SECRET_LENGTH),
            "must have at least 32 characters (openssl rand -base64 32 makes one)",
        )?;
        let email = self.auth.admin_email.as_deref();
        check.that(
            "auth.admin_email",
            email.is_none_or(|email| email.contains('@')),
            "must be an e-mail address",
        )?;
        let is_address = self.mail.from.contains('@') && !self.mail.from.contains(['\r', '\n']);
        check.that("mail.from", is_address, "must be an e-mail address, such as Me <me@host>")?;
        let level = EnvFilter::builder().parse(&self.log.level);
        check.that(
            "log.level",
            level.is_ok() && !self.log.level.trim().is_empty(),
            "must be a filter such as info, warn or info,miniapp_http=debug",
        )
    }

    fn validate_urls(&self, check: Check<'_>) -> Result<(), ConfigError> {
        let databases: &[&str] = if self.database.url.is_empty() {
            &[""]
        } else {
            &["sqlite", "postgres", "postgresql"]
        };
        check.engine("database.url", &self.database.url, databases)?;
        check.engine("broker.url", &self.broker.url, &["memory", "amqp", "amqps"])?;
        // Who names an authority doesn't want to talk in the open.
        let fine = self.broker.ca_file.is_none() || self.broker.url.scheme() == "amqps";
        check.that("broker.ca_file", fine, "needs a broker.url that begins with amqps://")?;
        check.engine("mail.url", &self.mail.url, &["inbox", "smtp", "smtps"])?;
        let is_http = |url: &str| {
            let url: Option<http::Uri> = url.parse().ok();
            url.is_some_and(|url| {
                matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
            })
        };
        let url = &self.auth.url;
        let fine = is_http(url) && !url.ends_with('/');
        check.that(
            "auth.url",
            fine,
            "must be like http://host:8005, without a slash at the end",
        )?;
        for (key, url) in [
            ("telemetry.otlp_endpoint", &self.telemetry.otlp_endpoint),
            ("telemetry.otlp_traces_endpoint", &self.telemetry.otlp_traces_endpoint),
            ("telemetry.otlp_metrics_endpoint", &self.telemetry.otlp_metrics_endpoint),
        ] {
            let fine = url.is_empty() || is_http(url);
            check.that(key, fine, "must be like http://host:4317")?;
        }
        let fine = self.telemetry.jaeger_url.as_deref().is_none_or(is_http);
        check.that("telemetry.jaeger_url", fine, "must be like http://host:16686")?;
        let is_origin =
            |origin: &String| origin == "*" || (is_http(origin) && !origin.ends_with('/'));
        let fine = self.api.cors_origins.iter().all(is_origin);
        check.that("api.cors_origins", fine, "must be origins such as https://app.example.com")
    }

    fn validate_durations(&self, check: Check<'_>) -> Result<(), ConfigError> {
        let second = Duration::from_secs(1);
        let bounds = [
            ("mail.timeout", self.mail.timeout, second, 20 * second),
            ("auth.access_ttl", self.auth.access_ttl, second, DAY),
            ("auth.refresh_ttl", self.auth.refresh_ttl, second, 3650 * DAY),
            ("auth.key_rotation", self.auth.key_rotation, MINUTE, 3650 * DAY),
            ("auth.key_overlap", self.auth.key_overlap, self.auth.access_ttl, 3650 * DAY),
            ("worker.lease", self.worker.lease, second, 60 * MINUTE),
            ("worker.grace", self.worker.grace, Duration::ZERO, DAY),
            ("codes.ttl", self.codes.ttl, second, DAY),
            ("codes.cooldown", self.codes.cooldown, Duration::ZERO, DAY),
            ("limits.header_timeout", self.limits.header_timeout, second, 60 * MINUTE),
            ("limits.body_timeout", self.limits.body_timeout, second, 60 * MINUTE),
            ("limits.write_timeout", self.limits.write_timeout, second, 60 * MINUTE),
            ("telemetry.otlp_timeout", self.telemetry.otlp_timeout, MILLISECOND, 60 * MINUTE),
            ("telemetry.batch_delay", self.telemetry.batch_delay, MILLISECOND, 60 * MINUTE),
            ("telemetry.metric_interval", self.telemetry.metric_interval, MILLISECOND, DAY),
            ("tasks.retention", self.tasks.retention, MINUTE, 36_500 * DAY),
            ("tasks.deleted_retention", self.tasks.deleted_retention, second, 3650 * DAY),
        ];
        for (key, value, least, most) in bounds {
            let fine = (least..=most).contains(&value);
            check.that(key, fine, &format!("must be from {least:?} to {most:?}, not {value:?}"))?;
        }
        let fine = self.auth.refresh_ttl >= self.auth.access_ttl;
        check.that("auth.refresh_ttl", fine, "must not be shorter than auth.access_ttl")
    }

    fn validate_counts(&self, check: Check<'_>) -> Result<(), ConfigError> {
        let bounds = [
            ("database.connections", self.database.connections.into(), 1, 1000),
            ("auth.sessions_per_user", u64::from(self.auth.sessions_per_user), 1, 1000),
            ("worker.concurrency", self.worker.concurrency.into(), 1, 10_000),
            ("worker.replicas", self.worker.replicas.into(), 0, 100),
            ("codes.tries", self.codes.tries.into(), 1, 100),
            ("codes.per_day", self.codes.per_day.into(), 1, 1_000_000),
            ("limits.connections", self.limits.connections.into(), 1, 1_000_000),
            ("telemetry.batch_size", self.telemetry.batch_size.into(), 1, 65_536),
            ("telemetry.queue_size", self.telemetry.queue_size.into(), 1, 1 << 24),
            ("telemetry.attribute_length", self.telemetry.attribute_length.into(), 1, 1 << 16),
            ("limits.body", self.limits.body as u64, 1024, 1 << 30),
        ];
        for (key, value, least, most) in bounds {
            let fine = (least..=most).contains(&value);
            check.that(key, fine, &format!("must be from {least} to {most}, not {value}"))?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Check<'a>(&'a Layers);

impl Check<'_> {
    fn that(self, key: &str, fine: bool, otherwise: &str) -> Result<(), ConfigError> {
        if fine { Ok(()) } else { Err(self.0.invalid(key, otherwise)) }
    }

    fn engine(self, key: &str, url: &EngineUrl, schemes: &[&str]) -> Result<(), ConfigError> {
        let fine = schemes.contains(&url.scheme());
        let known: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
        let known = known.join(" or ");
        self.that(key, fine, &format!("must begin with {known}, not with {}://", url.scheme()))
    }
}
