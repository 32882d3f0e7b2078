//! The sections that the background loops read.

use std::time::Duration;

use miniapp_config::values::duration;
use miniapp_config::{ConfigError, Section, Validator};
use serde::Deserialize;

const DAY: Duration = Duration::from_hours(24);

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct RetentionConfig {
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    #[serde(deserialize_with = "duration")]
    pub deleted_retention: Duration,
}

/// The setting of the section `worker` that all processes share.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct LeaseConfig {
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
}

impl Section for LeaseConfig {
    const NAME: &'static str = "worker";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        let leases = Duration::from_secs(1)..=Duration::from_hours(1);
        validator.range("lease", self.lease, leases)
    }
}

impl Section for RetentionConfig {
    const NAME: &'static str = "tasks";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.range("retention", self.retention, Duration::from_mins(1)..=36_500 * DAY)?;
        let deleted = Duration::from_secs(1)..=3650 * DAY;
        validator.range("deleted_retention", self.deleted_retention, deleted)
    }
}
