//! The service: every use case of accounts.

mod account;
mod admin;
mod api_keys;
mod codes;
mod keys;
mod password_reset;
mod registration;
mod session;
mod sign_in;

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use miniapp_broker::Broker;
use miniapp_config::{Config, ConfigError};
use miniapp_runtime::clock::Clock;
use miniapp_telemetry::metrics::CollectorGuard;
use miniapp_types::account::{Jwks, Role};
use miniapp_types::body::JsonBody;
use miniapp_types::fields::{BodyError, FromFields};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

pub use admin::{GrantError, grant_admin};
pub use keys::{KeyRotation, RotateError, rotate_keys};
pub use registration::VERIFICATION_TTL;

use crate::audit::{Action, AuditEntry, Caller};
use crate::audit_limit::AuditLimit;
use crate::code::Codes;
use crate::config::{CodeConfig, MailConfig, SignInLimits, TokenConfig};
use crate::email::Email;
use crate::error::Error;
use crate::event_publisher::EventPublisher;
use crate::fair_queue::FairQueue;
use crate::keys::{KeyError, Schedule, SigningKeys};
use crate::mail::Mailer;
use crate::metrics;
use crate::operations::Authorized;
use crate::outbox::OutboxCodec;
use crate::password::{Client, PasswordHasher};
use crate::relay::{Relay, Wake};
use crate::secret::{PlatformSecrets, SecretError};
use crate::session::Identity;
use crate::store::{Operation, Store, StoreError, TracedStore};

/// API keys that are read concurrently.
const KEY_LOOKUPS: usize = 8;
/// Uses of API keys that are recorded concurrently.
const KEY_USES: usize = 16;

#[derive(Clone)]
pub struct Dependencies {
    /// The service name of the spans.
    pub service: &'static str,
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub mailer: Arc<dyn Mailer>,
    pub clock: Arc<dyn Clock>,
}

/// Why accounts can't be opened. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("auth.admin_email (MINIAPP__AUTH__ADMIN_EMAIL) is not an e-mail address")]
    AdminEmail,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl OpenError {
    /// Whether the store is not available yet, so that a retry may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Keys(KeyError::Store(StoreError::Unavailable(_))))
    }
}

#[derive(Clone, Debug)]
struct Settings {
    access_ttl: Duration,
    refresh_ttl: Duration,
    refresh_grace: Duration,
    sessions_per_user: u32,
    api_keys_per_user: u32,
    admin_email: Option<Email>,
    code_ttl: Duration,
    code_tries: u32,
    code_cooldown: Duration,
    codes_per_day: u32,
    sign_in_failures: u32,
    /// Mail stays in the platform, so that domains need no dot.
    mails_locally: bool,
}

impl Settings {
    fn new(config: &Config) -> Result<Self, OpenError> {
        let tokens: TokenConfig = config.section()?;
        let codes: CodeConfig = config.section()?;
        let SignInLimits { sign_in_failures } = config.section()?;
        let mail: MailConfig = config.section()?;
        let admin_email = match tokens.admin_email.as_deref() {
            Some(text) => Some(Email::parse(text).ok_or(OpenError::AdminEmail)?),
            None => None,
        };
        Ok(Self {
            access_ttl: tokens.access_ttl,
            refresh_ttl: tokens.refresh_ttl,
            refresh_grace: tokens.refresh_grace,
            sessions_per_user: tokens.sessions_per_user,
            api_keys_per_user: tokens.api_keys_per_user,
            admin_email,
            code_ttl: codes.ttl,
            code_tries: codes.tries,
            code_cooldown: codes.cooldown,
            codes_per_day: codes.per_day,
            sign_in_failures,
            mails_locally: mail.url.scheme() == "inbox",
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
    hasher: PasswordHasher,
    codes: Codes,
    keys: Arc<SigningKeys>,
    codec: Arc<OutboxCodec>,
    events: EventPublisher,
    relay: Arc<Relay>,
    wake: Arc<Wake>,
    /// Permits to read API keys, by client network: anyone may send any number of random keys.
    key_lookups: FairQueue<Option<IpAddr>>,
    /// Permits to record uses of API keys.
    key_uses: Arc<Semaphore>,
    audit_limit: AuditLimit,
}

impl Accounts {
    /// Loads the secrets and the signing keys, and creates them if they are missing.
    pub async fn open(config: &Config, dependencies: Dependencies) -> Result<Self, OpenError> {
        let Dependencies { service, store, broker, mailer, clock } = dependencies;
        let store: Arc<dyn Store> = Arc::new(TracedStore { store, service });
        let settings = Settings::new(config)?;
        let tokens: TokenConfig = config.section()?;
        let secrets = PlatformSecrets::load(&tokens, config.data_dir())?;
        let schedule = Schedule { rotation: tokens.key_rotation, overlap: tokens.key_overlap };
        let keys = SigningKeys::open(store.clone(), clock.clone(), &secrets, schedule).await?;
        let keys = Arc::new(keys);
        let concurrency = std::thread::available_parallelism().map_or(1, NonZero::get);
        let hasher = tokio::task::spawn_blocking(move || PasswordHasher::new(service, concurrency))
            .await
            .context("the password hasher failed to start")??;
        let codec = Arc::new(OutboxCodec::new(&secrets)?);
        let events = EventPublisher::new(service, broker.clone(), clock.clone(), keys.clone());
        let wake = Arc::new(Wake::default());
        let relay = Arc::new(Relay {
            service,
            store: store.clone(),
            clock: clock.clone(),
            broker,
            mailer,
            codec: codec.clone(),
            events: events.clone(),
            keys: keys.clone(),
            refresh_grace: settings.refresh_grace,
            wake: wake.clone(),
        });
        let inner = Inner {
            store,
            clock,
            settings,
            hasher,
            codes: Codes::new(&secrets),
            keys,
            codec,
            events,
            relay,
            wake,
            key_lookups: FairQueue::new(KEY_LOOKUPS),
            key_uses: Arc::new(Semaphore::new(KEY_USES)),
            audit_limit: AuditLimit::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Returns the public keys that verify access tokens.
    pub async fn jwks(&self) -> Jwks {
        self.0.keys.jwks().await
    }

    /// Parses a body that has a new password. Checking its strength is as expensive as
    /// hashing, so it shares the hasher's limit.
    pub async fn parse_body<T: FromFields + Send + 'static>(
        &self,
        body: JsonBody,
        caller: &Caller,
    ) -> Result<Result<T, BodyError>, Error> {
        let permit = self.0.hasher.acquire(Client::Network(caller.network())).await?;
        Ok(permit.parse_body(body).await?)
    }

    pub fn relay(&self) -> Arc<Relay> {
        self.0.relay.clone()
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    /// Registers the gauges of the outbox until the guard is dropped.
    pub fn register_gauges(&self) -> CollectorGuard {
        metrics::register_gauges(self.0.store.clone(), self.0.clock.clone())
    }

    pub(crate) fn codec(&self) -> &OutboxCodec {
        &self.0.codec
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// See [`SigningKeys::maintain`].
    pub async fn maintain_keys(&self) -> Result<(), KeyError> {
        self.0.keys.maintain().await
    }

    /// Runs an operation in a transaction that first checks the caller's token, session and role.
    async fn transact_as<O: Operation + Send>(
        &self,
        actor: &Identity,
        role: Option<Role>,
        operation: O,
    ) -> Result<O::Output, Error> {
        let (actor, now) = (actor.clone(), self.0.clock.now());
        Ok(self.0.store.transact(&Authorized { actor, role, now, operation }).await??)
    }

    fn audit_entry(&self, action: Action, caller: &Caller) -> AuditEntry {
        AuditEntry::new(action, self.0.clock.now(), caller)
    }

    /// An action of an account's owner on the account.
    fn owner_entry(&self, action: Action, owner: &Identity, caller: &Caller) -> AuditEntry {
        let Identity { account, session, .. } = owner;
        self.audit_entry(action, caller).by(account, *session).about(account)
    }

    /// Runs `work` to completion even if the request is cancelled: the events of a committed
    /// change must be published.
    async fn run_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::spawn(work.in_current_span()).await;
        done.unwrap_or_else(|error| Err(Error::Internal(error.into())))
    }

    /// Records a rejection in the audit log. The result stays the same if that fails.
    async fn audit_rejection<T>(
        &self,
        entry: AuditEntry,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &result
            && let Some(code) = error.code()
            && let Some(entry) = self.0.audit_limit.admit(entry.rejected(code))
        {
            self.record(&entry).await;
        }
        result
    }

    /// Records the requests that earlier entries do not stand for: of intervals that have ended, or
    /// of all if the process stops.
    pub(crate) async fn flush_audit(&self, stops: bool) {
        let now = (!stops).then(|| self.0.clock.now());
        for entry in self.0.audit_limit.flush(now) {
            self.record(&entry).await;
        }
    }

    async fn record(&self, entry: &AuditEntry) {
        if let Err(error) = self.0.store.append_audit(entry).await {
            tracing::warn!(%error, "failed to record a request in the audit log");
        }
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
