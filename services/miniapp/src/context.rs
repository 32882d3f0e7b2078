//! [`Context`]: the options and services that all commands share.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::ColorChoice;
use jiff::Timestamp;
use miniapp_api::ApiConfig;
use miniapp_auth::AuthConfig;
use miniapp_client::{Client, Code, Error, SessionStore as _};
use miniapp_config::{Config, ConfigError};
use miniapp_program::AdminConfig;
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_worker::Extension;
use reqwest::Url;

use crate::environment_key;
use crate::pending::Pending;
use crate::platform::reachable;
use crate::program::PROGRAM;
use crate::session_file::{self, SessionFile, canonical};
use crate::settings;
use crate::ui::Ui;

/// The port of the API by default.
const DEFAULT_API_PORT: u16 = 8000;

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

    /// When to use colors; `auto` respects `NO_COLOR`
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

impl GlobalOptions {
    /// Returns the options of the environment, for a command line that is not complete yet.
    pub fn from_environment() -> Self {
        let url = |name| std::env::var(name).ok().and_then(|text| base_url(&text).ok());
        Self {
            url: url("MINIAPP_URL"),
            auth_url: url("MINIAPP_AUTH_URL"),
            config: std::env::var_os("MINIAPP_CONFIG").map(PathBuf::from),
            json: false,
            color: ColorChoice::Never,
        }
    }
}

/// Parses the URL of a service. Without the check of the scheme, `localhost:8000` would be
/// a URL with the scheme `localhost`.
pub fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    url.filter(is_web).ok_or_else(|| {
        let example =
            if text.contains("://") { "http://127.0.0.1:8000" } else { &format!("http://{text}") };
        format!("expected a URL such as {example}")
    })
}

fn state_directory() -> anyhow::Result<PathBuf> {
    session_file::directory().context("no directory for sessions: set HOME or XDG_STATE_HOME")
}

/// The options and services that all commands share.
#[derive(Debug)]
pub struct Context {
    pub ui: Ui,
    pub global: GlobalOptions,
    /// Whether the command line selects a platform, not only the environment.
    pub is_url_given: bool,
    pub clock: SystemClock,
    /// The kinds and settings of the program.
    pub extension: Extension,
}

/// Where a platform listens.
struct Selected {
    api: Url,
    /// Where auth listens, if that is known.
    auth: Option<Url>,
    /// Where the admin listener is, if that is known.
    admin: Option<Url>,
}

impl Context {
    pub fn new(global: GlobalOptions, is_url_given: bool, extension: Extension) -> Self {
        let ui = Ui::new(global.json, global.color);
        Self { ui, global, is_url_given, clock: SystemClock, extension }
    }

    /// Loads the configuration and validates every section of the platform.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let config = Config::load(self.extension.schemas(), self.global.config.as_deref())?;
        settings::validate(&config)?;
        Ok(config)
    }

    /// Builds a client of the selected platform with the session of `miniapp login`, and with the
    /// API key of the environment.
    pub fn client(&self) -> anyhow::Result<Client> {
        let Selected { api, auth: known_auth, .. } = self.selected()?;
        let sessions = SessionFile::open(&state_directory()?, &api)?;
        let session_auth = || sessions.load().and_then(|it| Url::parse(&it.auth_url).ok());
        let auth = self.global.auth_url.clone().or_else(session_auth).or(known_auth);
        let mut builder = Client::builder(api)
            .user_agent(concat!("miniapp/", env!("CARGO_PKG_VERSION")))
            .client_name("cli")
            .session_store(sessions);
        if let Some(auth) = auth {
            builder = builder.auth_url(auth);
        }
        if let Some(key) = environment_key::read()? {
            builder = builder.api_key(key);
        }
        Ok(builder.build()?)
    }

    /// Explains an error of a request to the auth service that was sent to a wrong place, because
    /// only the URL of the API is known.
    pub fn explain_auth(&self, error: anyhow::Error) -> anyhow::Error {
        let is_misplaced = error.downcast_ref::<Error>().is_some_and(|error| match error {
            Error::ConnectionRefused(_)
            | Error::Connection { .. }
            | Error::Timeout(_)
            | Error::UnexpectedResponse { .. } => true,
            error => error.code() == Some(Code::NotFound),
        });
        let is_known = self.global.auth_url.is_some()
            || self.selected().is_ok_and(|selected| selected.auth.is_some());
        match self.client() {
            Ok(client) if is_misplaced && !is_known => anyhow!(
                "{error}; the auth service was assumed at {}, set its address with --auth-url",
                client.auth_url()
            ),
            _ => error,
        }
    }

    /// Returns the storage for a registration at the selected platform.
    pub fn pending_registration(&self) -> anyhow::Result<Pending> {
        Ok(Pending::new(&state_directory()?, &self.selected()?.api))
    }

    /// Returns the URL of the admin listener of the selected platform, if it is known.
    pub fn admin_url(&self) -> anyhow::Result<Option<Url>> {
        Ok(self.selected()?.admin)
    }

    /// Returns whether another platform is selected than the one of the configuration.
    pub fn selects_another_platform(&self) -> bool {
        let Some(url) = &self.global.url else { return false };
        self.configured().is_ok_and(|it| canonical(&it.api) != canonical(url))
    }

    /// The configuration is that of the selected platform, unless `--url` names another one.
    fn selected(&self) -> anyhow::Result<Selected> {
        let Some(url) = &self.global.url else { return self.configured() };
        match self.configured() {
            Ok(configured) if canonical(&configured.api) == canonical(url) => {
                Ok(Selected { api: url.clone(), ..configured })
            }
            _ => {
                let has_default_ports = url.port() == Some(DEFAULT_API_PORT);
                let admin = has_default_ports.then(|| {
                    let mut admin = url.clone();
                    // Fails only for URLs without a host, and this one has a port.
                    let _ = admin.set_port(Some(PROGRAM.admin_port));
                    admin
                });
                Ok(Selected { api: url.clone(), auth: None, admin })
            }
        }
    }

    fn configured(&self) -> anyhow::Result<Selected> {
        let config = self.config()?;
        let api: ApiConfig = config.section()?;
        let auth: AuthConfig = config.section()?;
        let admin: AdminConfig = config.section()?;
        let url = |address| Url::parse(&format!("http://{}", reachable(address)));
        Ok(Selected {
            api: url(api.listen)?,
            auth: Some(url(auth.listen)?),
            admin: Some(url(admin.address(PROGRAM.admin_port))?),
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
