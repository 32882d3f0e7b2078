//! Everything that can be done with accounts.

mod account;
mod admin;
mod reset;
mod session;
mod sign_in;
mod sign_up;

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use miniapp_broker::Broker;
use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::Clock;
use miniapp_telemetry::metrics::CollectorGuard;
use miniapp_types::account::Jwks;
use miniapp_types::body::JsonBody;
use miniapp_types::fields::{BodyError, FromFields};
use tokio::sync::Notify;
use tracing::Instrument as _;

pub use admin::{GrantError, grant_admin};
pub(crate) use sign_in::FAILURE_WINDOW;
pub use sign_in::FIRST_EPOCH;

use crate::audit::{Action, Caller, Entry};
use crate::code::Codes;
use crate::config::{CodeConfig, SignInLimits, TokenConfig};
use crate::email::Email;
use crate::error::Error;
use crate::event_publisher::EventPublisher;
use crate::keys::{KeyError, Schedule, SigningKeys};
use crate::mail::Mailer;
use crate::metrics;
use crate::outbox::{OutboxCodec, Relay};
use crate::password::Passwords;
use crate::secret::{PlatformSecret, SecretError};
use crate::store::{Store, StoreError, TracedStore};

/// What accounts are made of.
#[derive(Clone)]
pub struct Dependencies {
    /// The service that its spans belong to.
    pub service: &'static str,
    /// The database.
    pub store: Arc<dyn Store>,
    /// Where news and messages go.
    pub broker: Arc<dyn Broker>,
    /// Where mail goes.
    pub mailer: Arc<dyn Mailer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why accounts can't be opened, each in one line.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There are no signing keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The administrator's address is none.
    #[error("auth.admin_email (MINIAPP__AUTH__ADMIN_EMAIL) is not an e-mail address")]
    AdminEmail,
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that doesn't happen.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl OpenError {
    /// Whether it is the store that can't be used yet: trying again later is right.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Keys(KeyError::Store(StoreError::Unavailable(_))))
    }
}

/// The rules that can be set.
#[derive(Clone, Debug)]
struct Settings {
    access_ttl: Duration,
    refresh_ttl: Duration,
    sessions_per_user: u32,
    admin_email: Option<Email>,
    code_ttl: Duration,
    code_tries: u32,
    code_cooldown: Duration,
    codes_per_day: u32,
    sign_in_failures: u32,
}

impl Settings {
    fn new(config: &Config) -> Result<Self, OpenError> {
        let tokens: TokenConfig = config.section()?;
        let codes: CodeConfig = config.section()?;
        let SignInLimits { sign_in_failures } = config.section()?;
        let admin_email = match tokens.admin_email.as_deref() {
            Some(text) => Some(Email::parse(text).ok_or(OpenError::AdminEmail)?),
            None => None,
        };
        Ok(Self {
            access_ttl: tokens.access_ttl,
            refresh_ttl: tokens.refresh_ttl,
            sessions_per_user: tokens.sessions_per_user,
            admin_email,
            code_ttl: codes.ttl,
            code_tries: codes.tries,
            code_cooldown: codes.cooldown,
            codes_per_day: codes.per_day,
            sign_in_failures,
        })
    }
}

/// Accounts, sessions and tokens. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    passwords: Passwords,
    codes: Codes,
    keys: SigningKeys,
    codec: Arc<OutboxCodec>,
    news: EventPublisher,
    relay: Arc<Relay>,
    wake: Arc<Notify>,
}

impl Accounts {
    /// Puts the parts together; makes the secret and the first signing key where they
    /// are missing.
    pub async fn open(config: &Config, parts: Dependencies) -> Result<Self, OpenError> {
        let Dependencies { service, store, broker, mailer, clock } = parts;
        let store: Arc<dyn Store> = Arc::new(TracedStore { store, service });
        let settings = Settings::new(config)?;
        let tokens: TokenConfig = config.section()?;
        let secret = PlatformSecret::load(tokens.secret.as_ref(), config.data_dir())?;
        let schedule = Schedule { rotation: tokens.key_rotation, overlap: tokens.key_overlap };
        let keys = SigningKeys::open(store.clone(), clock.clone(), &secret, schedule).await?;
        let concurrency = std::thread::available_parallelism().map_or(1, NonZero::get);
        let passwords = tokio::task::spawn_blocking(move || Passwords::new(service, concurrency))
            .await
            .context("the password hasher failed to start")??;
        let codec = Arc::new(OutboxCodec::new(&secret)?);
        let news = EventPublisher::new(service, broker.clone(), clock.clone());
        let wake = Arc::new(Notify::new());
        let relay = Arc::new(Relay {
            service,
            store: store.clone(),
            clock: clock.clone(),
            broker,
            mailer,
            codec: codec.clone(),
            news: news.clone(),
            wake: wake.clone(),
        });
        let codes = Codes::new(&secret);
        let inner =
            Inner { store, clock, settings, passwords, codes, keys, codec, news, relay, wake };
        Ok(Self(Arc::new(inner)))
    }

    /// The public keys that access tokens are verified with.
    pub fn jwks(&self) -> Jwks {
        self.0.keys.jwks()
    }

    /// Reads a body that has a new password: judging it takes its turn among those that
    /// are hashed.
    pub async fn read_body<T: FromFields + Send + 'static>(
        &self,
        body: JsonBody,
    ) -> Result<Result<T, BodyError>, Error> {
        Ok(self.0.passwords.turn().await?.read(body).await?)
    }

    /// What does the mails and messages that are owed.
    pub fn relay(&self) -> Arc<Relay> {
        self.0.relay.clone()
    }

    /// The database.
    pub fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    /// Tells of what is owed whenever the metrics are read, for as long as what it gives
    /// lives.
    pub fn watch(&self) -> CollectorGuard {
        metrics::watch(self.0.store.clone(), self.0.clock.clone())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Looks after the signing keys; see [`SigningKeys::tend`].
    pub async fn maintain_keys(&self) -> Result<(), KeyError> {
        self.0.keys.tend().await
    }

    fn entry(&self, action: Action, caller: &Caller) -> Entry {
        Entry::new(action, self.0.clock.now(), caller)
    }

    /// Runs `work` to its end even if the request that asked for it goes away meanwhile:
    /// a change that has committed has to be told.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::spawn(work.in_current_span()).await;
        done.unwrap_or_else(|fault| Err(Error::Internal(fault.into())))
    }

    /// Notes a refusal in the audit log, where there is one. What was refused stays
    /// refused even if the note fails.
    async fn noting<T>(&self, entry: Entry, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && let Some(code) = error.refusal()
            && let Err(fault) = self.0.store.audit(entry.refused(code)).await
        {
            tracing::warn!(error = %fault, "failed to record a rejection in the audit log");
        }
        result
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
