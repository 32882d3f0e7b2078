//! The section `tasks`.

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

impl Section for RetentionConfig {
    const NAME: &'static str = "tasks";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.range("retention", self.retention, Duration::from_mins(1)..=36_500 * DAY)?;
        let deleted = Duration::from_secs(1)..=3650 * DAY;
        validator.range("deleted_retention", self.deleted_retention, deleted)
    }
}
