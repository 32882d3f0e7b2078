//! Sections and the crates that own them.

use serde::de::DeserializeOwned;

use crate::{Config, ConfigError, Validator};

/// A table of the configuration, or the part of it that a crate reads.
///
/// ```
/// use miniapp_config::{Config, ConfigError, Section, Validator};
///
/// #[derive(serde::Deserialize)]
/// struct Worker {
///     concurrency: u16,
/// }
///
/// impl Section for Worker {
///     const NAME: &'static str = "worker";
///
///     fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
///         validator.range("concurrency", self.concurrency, 1..=10_000)
///     }
/// }
///
/// let variable = ("MINIAPP__WORKER__CONCURRENCY".to_owned(), "8".to_owned());
/// let home = ("HOME".to_owned(), "/home/me".to_owned());
/// let config = Config::load_from(None, [variable, home])?;
/// assert_eq!(config.section::<Worker>()?.concurrency, 8);
/// # Ok::<(), ConfigError>(())
/// ```
pub trait Section: DeserializeOwned {
    /// The name of the table.
    const NAME: &'static str;

    /// Checks what the types of the fields leave open.
    fn validate(&self, _: &Validator<'_>) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// Reads a section and drops it; see [`Config::validate`].
pub type SectionCheck = fn(&Config) -> Result<(), ConfigError>;

/// The [`SectionCheck`] of `T`.
pub fn check<T: Section>(config: &Config) -> Result<(), ConfigError> {
    config.section::<T>().map(drop)
}
