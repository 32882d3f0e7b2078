//! What can be set, for the whole platform, and where each value came from.
//!
//! The commented defaults in `config.default.toml` are the schema: what isn't named
//! there is refused. A file goes over them and the environment over the file; one
//! environment serves every process.

mod error;
mod layers;
mod sections;
mod settings;
mod validate;
pub mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use error::ConfigError;
pub use layers::variable_of;
pub use sections::{
    Admin, Api, Auth, Broker, Codes, Database, Limits, Log, LogFormat, Mail, MetricsExporter,
    OtlpCompression, OtlpProtocol, Synchronous, Tasks, Telemetry, Worker,
};
pub use settings::{Setting, Source};
pub use values::EngineUrl;

use layers::Layers;

/// The commented default file.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where files are kept.
    pub data_dir: PathBuf,
    /// The database.
    pub database: Database,
    /// The broker.
    pub broker: Broker,
    /// Mail.
    pub mail: Mail,
    /// The service for accounts and tokens.
    pub auth: Auth,
    /// The service for tasks.
    pub api: Api,
    /// The listener for those who run the platform.
    pub admin: Admin,
    /// The workers.
    pub worker: Worker,
    /// Codes sent by mail.
    pub codes: Codes,
    /// What is too much.
    pub limits: Limits,
    /// How long tasks are kept.
    pub tasks: Tasks,
    /// What is logged.
    pub log: Log,
    /// What is traced.
    pub telemetry: Telemetry,
    /// Where each value came from.
    #[serde(skip)]
    settings: Vec<Setting>,
}

impl Config {
    /// Reads defaults, then `file` (or the one that `MINIAPP_CONFIG` names), then the
    /// environment of this process.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::load_from(file, environment)
    }

    /// Reads defaults, then `file` (or the one that `MINIAPP_CONFIG` names), then
    /// `environment`.
    pub fn load_from(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let environment = environment.into_iter().collect();
        let layers = Layers::new(file, &environment)?;
        let mut config: Self = layers.extract()?;
        if config.data_dir.as_os_str().is_empty() {
            config.data_dir = default_data_dir(&environment)?;
        }
        config.validate(&layers)?;
        config.settings = layers.settings();
        if config.database.url.is_empty() {
            let file = config.data_dir.join("miniapp.db");
            config.database.url = EngineUrl::new(format!("sqlite://{}", file.display()));
        }
        config.show_what_was_filled_in();
        Ok(config)
    }

    /// The defaults alone, with files in `data_dir`: for tests and tools.
    pub fn defaults_in(data_dir: &Path) -> Result<Self, ConfigError> {
        let data_dir = data_dir.display().to_string();
        Self::load_from(None, [("MINIAPP__DATA_DIR".to_owned(), data_dir)])
    }

    /// Every key with its value, secrets hidden, and where it came from.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Returns the address of the admin listener, by default `port` on the loopback interface.
    pub fn admin_listen(&self, port: u16) -> SocketAddr {
        self.admin.listen.unwrap_or_else(|| ([127, 0, 0, 1], port).into())
    }

    /// Returns the error for a value of `key` that its consumer rejects.
    pub fn invalid(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        let origin = setting.map_or(Source::Default, |setting| setting.source.clone());
        ConfigError::Invalid { key: key.to_owned(), origin, message: message.into() }
    }

    fn show_what_was_filled_in(&mut self) {
        let filled = [
            ("data_dir", self.data_dir.display().to_string()),
            ("database.url", self.database.url.to_string()),
        ];
        for (key, value) in filled {
            if let Some(setting) = self.settings.iter_mut().find(|setting| setting.key == key) {
                setting.value = value;
            }
        }
    }
}

fn default_data_dir(environment: &layers::Environment) -> Result<PathBuf, ConfigError> {
    // The XDG rules: a relative path there is to be ignored.
    let absolute = |name: &str| {
        let path = environment.get(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("miniapp"))
        .ok_or(ConfigError::NoDataDir)
}

#[cfg(test)]
mod tests;
