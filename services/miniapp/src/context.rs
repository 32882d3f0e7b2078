//! What every command has at hand.

use anyhow::Context as _;
use jiff::Timestamp;
use miniapp_api::ApiConfig;
use miniapp_auth::AuthConfig;
use miniapp_client::{Client, SessionStore as _};
use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::{Clock as _, SystemClock};
use reqwest::Url;

use crate::cli::Global;
use crate::platform::reachable;
use crate::session_file::{self, SessionFile};
use crate::settings;
use crate::ui::Ui;

/// What every command has at hand.
#[derive(Debug)]
pub struct Context {
    /// Where output goes.
    pub ui: Ui,
    /// The options that every command understands.
    pub global: Global,
    /// What time it is, for telling ages.
    pub clock: SystemClock,
}

impl Context {
    /// Puts it together from the command line.
    pub fn new(global: Global) -> Self {
        Self { ui: Ui::new(global.json, global.color), global, clock: SystemClock }
    }

    /// Loads the configuration and validates every section of the platform.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let config = Config::load(self.global.config.as_deref())?;
        settings::validate(&config)?;
        Ok(config)
    }

    /// A client of the platform that the command talks to, signed in if `miniapp login`
    /// was there before.
    pub fn client(&self) -> anyhow::Result<Client> {
        let (api, configured) = self.addresses()?;
        let directory = session_file::directory()
            .context("no directory for tokens: set HOME or XDG_STATE_HOME")?;
        let sessions = SessionFile::open(&directory, &api)?;
        let signed_in_at = || sessions.load().and_then(|it| Url::parse(&it.auth_url).ok());
        let auth = self.global.auth_url.clone().or_else(signed_in_at).or(configured);
        let mut builder = Client::builder(api)
            .user_agent(concat!("miniapp/", env!("CARGO_PKG_VERSION")))
            .session_store(sessions);
        if let Some(auth) = auth {
            builder = builder.auth_url(auth);
        }
        Ok(builder.build()?)
    }

    /// Where the API is, and auth where that is known: as told, or where the configuration
    /// has them listen.
    fn addresses(&self) -> anyhow::Result<(Url, Option<Url>)> {
        if let Some(url) = &self.global.url {
            return Ok((url.clone(), None));
        }
        let config = self.config()?;
        let api: ApiConfig = config.section()?;
        let auth: AuthConfig = config.section()?;
        let at = |address| Url::parse(&format!("http://{}", reachable(address)));
        Ok((at(api.listen)?, Some(at(auth.listen)?)))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
