//! Layered configuration with the source of every value.
//!
//! The commented default file is the schema: a key that it lacks is refused, with the
//! nearest known one. A file overrides the defaults and the environment overrides the file.
//! One environment serves every process of the platform.
//!
//! Each crate owns the [`Section`]s that it reads, and several crates may read parts of the
//! same one. [`Config::section`] reads and validates a section.
//!
//! Variables, and files that they name, may refer to other variables by `$(NAME)`.

mod aliases;
mod database;
mod error;
mod layers;
mod references;
mod schema;
mod section;
mod settings;
#[cfg(test)]
mod tests;
mod validator;
pub mod values;

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};

pub use database::{Database, Synchronous};
pub use error::{ConfigError, variable_of};
pub use schema::{PLATFORM, Schema};
pub use section::{Section, SectionCheck, check};
pub use settings::{Setting, Source};
pub use validator::Validator;
pub use values::EngineUrl;

use layers::{Environment, Layers};

/// The merged configuration of a process.
#[derive(Clone)]
pub struct Config {
    layers: Layers,
    data_dir: PathBuf,
    settings: Vec<Setting>,
}

impl Config {
    /// Loads the configuration with these `schemas` from `file`, or the file that `MINIAPP_CONFIG`
    /// names, and from the environment of this process.
    pub fn load(schemas: &[Schema], file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::load_schemas(schemas, file, environment)
    }

    /// Like [`load`](Self::load), with the settings of the platform and the given environment.
    pub fn load_from(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::load_schemas(&[PLATFORM], file, environment)
    }

    /// Like [`load_from`](Self::load_from), for programs that add sections of their own to
    /// those of the [`PLATFORM`].
    pub fn load_schemas(
        schemas: &[Schema],
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let environment = environment.into_iter().collect();
        let mut layers = Layers::new(schemas, file, &environment)?;
        let mut data_dir: PathBuf = layers.extract("data_dir")?;
        if data_dir.as_os_str().is_empty() {
            data_dir = default_data_dir(&environment)?;
            layers.fill_in("data_dir", &data_dir.display().to_string());
        }
        if layers.extract::<EngineUrl>("database.url")?.is_empty() {
            let file = data_dir.join("miniapp.db");
            layers.fill_in("database.url", &format!("sqlite://{}", file.display()));
        }
        let settings = layers.settings();
        Ok(Self { layers, data_dir, settings })
    }

    /// Loads the defaults alone, with files in `data_dir`: for tests and tools.
    pub fn defaults_in(data_dir: &Path) -> Result<Self, ConfigError> {
        let data_dir = data_dir.display().to_string();
        Self::load_from(None, [("MINIAPP__DATA_DIR".to_owned(), data_dir)])
    }

    /// Reads and validates a section.
    pub fn section<T: Section>(&self) -> Result<T, ConfigError> {
        let section: T = self.layers.extract(T::NAME)?;
        section.validate(&Validator::new(&self.layers, T::NAME))?;
        Ok(section)
    }

    /// Validates the sections that a program uses, so that it refuses to start with a wrong
    /// value in any of them.
    pub fn validate(&self, sections: &[SectionCheck]) -> Result<(), ConfigError> {
        sections.iter().try_for_each(|check| check(self))
    }

    /// Replaces the value of a known `key`, read as in the environment.
    ///
    /// # Panics
    ///
    /// Panics if the schema has no such key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.layers.set(key, value, Source::Program);
        self.settings = self.layers.settings();
        self
    }

    /// The directory of the process's files.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Every key with its value, secrets hidden, and its source.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The variables of OpenTelemetry that are ignored because of their values, with the reasons.
    pub fn warnings(&self) -> &[String] {
        self.layers.warnings()
    }

    /// Returns the error for a value of `key` that its consumer rejects.
    pub fn invalid(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.layers.invalid(key, message)
    }
}

impl Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.settings.iter().map(|it| (&it.key, &it.value));
        f.debug_map().entries(settings).finish()
    }
}

fn default_data_dir(environment: &Environment) -> Result<PathBuf, ConfigError> {
    // The XDG specification: a relative path there is to be ignored.
    let absolute = |name: &str| {
        let path = environment.get(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("miniapp"))
        .ok_or(ConfigError::NoDataDir)
}
