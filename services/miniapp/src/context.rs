//! [`Context`]: the options and services that all commands share.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::ColorChoice;
use jiff::Timestamp;
use miniapp_api::ApiConfig;
use miniapp_auth::AuthConfig;
use miniapp_client::{Client, SessionStore as _};
use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::{Clock as _, SystemClock};
use reqwest::Url;

use crate::platform::reachable;
use crate::session_file::{self, SessionFile};
use crate::settings;
use crate::ui::Ui;

/// Options that all commands accept.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalOptions {
    /// URL of the platform's API [default: as configured, port 8000 on this machine]
    #[arg(
        long,
        global = true,
        env = "MINIAPP_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = base_url
    )]
    pub url: Option<Url>,

    /// URL of its auth service [default: derived from the URL of the API]
    #[arg(
        long,
        global = true,
        env = "MINIAPP_AUTH_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = base_url
    )]
    pub auth_url: Option<Url>,

    /// Configuration file
    #[arg(
        long,
        global = true,
        env = "MINIAPP_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,

    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// When to use colors; `NO_COLOR` is respected
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

/// Parses the URL of a service. Without the check of the scheme, `localhost:8000` would be
/// a URL with the scheme `localhost`.
fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    url.filter(is_web).ok_or_else(|| {
        let example =
            if text.contains("://") { "http://127.0.0.1:8000" } else { &format!("http://{text}") };
        format!("expected a URL such as {example}")
    })
}

/// The options and services that all commands share.
#[derive(Debug)]
pub struct Context {
    pub ui: Ui,
    pub global: GlobalOptions,
    pub clock: SystemClock,
}

impl Context {
    pub fn new(global: GlobalOptions) -> Self {
        Self { ui: Ui::new(global.json, global.color), global, clock: SystemClock }
    }

    /// Loads the configuration and validates every section of the platform.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let config = Config::load(self.global.config.as_deref())?;
        settings::validate(&config)?;
        Ok(config)
    }

    /// Builds a client of the selected platform with the session of `miniapp login`.
    pub fn client(&self) -> anyhow::Result<Client> {
        let (api, configured_auth) = self.addresses()?;
        let directory = session_file::directory()
            .context("no directory for sessions: set HOME or XDG_STATE_HOME")?;
        let sessions = SessionFile::open(&directory, &api)?;
        let session_auth = || sessions.load().and_then(|it| Url::parse(&it.auth_url).ok());
        let auth = self.global.auth_url.clone().or_else(session_auth).or(configured_auth);
        let mut builder = Client::builder(api)
            .user_agent(concat!("miniapp/", env!("CARGO_PKG_VERSION")))
            .session_store(sessions);
        if let Some(auth) = auth {
            builder = builder.auth_url(auth);
        }
        Ok(builder.build()?)
    }

    /// Returns the URLs of the API and of auth, the latter if the configuration has both.
    fn addresses(&self) -> anyhow::Result<(Url, Option<Url>)> {
        if let Some(url) = &self.global.url {
            return Ok((url.clone(), None));
        }
        let config = self.config()?;
        let api: ApiConfig = config.section()?;
        let auth: AuthConfig = config.section()?;
        let url = |address| Url::parse(&format!("http://{}", reachable(address)));
        Ok((url(api.listen)?, Some(url(auth.listen)?)))
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
