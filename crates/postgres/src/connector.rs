//! Opening connections to the server, directly or through a connection pooler.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use miniapp_config::{Database as Settings, Synchronous, variable_of};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{ConnectOptions as _, Error, Executor as _, PgConnection, Row as _};
use tokio::time::{sleep, timeout};

use crate::error::DatabaseError;

/// Time limit for opening a connection, until its first response.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a server is contacted while it executes a long statement.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Limits of the server for statements whose client is gone, and for locks that another client
/// holds. Statements hold row locks for milliseconds, and failing is better than blocking the
/// pool.
const LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "10s"),
    ("lock_timeout", "3s"),
    ("idle_in_transaction_session_timeout", "10s"),
];
/// A setting that only a connection to the server itself has. A pooler rejects or drops it.
const MARKER: &str = "miniapp.direct";
const READ_MARKER: &str = "SELECT current_setting('miniapp.direct', true)";

/// How a connection reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Direct,
    /// Each transaction may run in another session of the server. So statements are not
    /// prepared, and settings end with their transaction.
    Pooled,
}

/// Opens connections to one database.
pub(crate) struct Connector {
    /// With settings for the session.
    direct: PgConnectOptions,
    /// Without them.
    pooled: PgConnectOptions,
    /// A pooler refuses logins with settings.
    rejects_settings: AtomicBool,
    local_settings: String,
    target: String,
}

impl Connector {
    pub fn new(options: PgConnectOptions, configured: &Settings) -> Self {
        // A pooler rejects the parameter, and the server's default is the same.
        let pooled = options.extra_float_digits(None);
        let mut settings = LIMITS.to_vec();
        if configured.synchronous == Synchronous::Normal {
            settings.push(("synchronous_commit", "off"));
        }
        let local: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"))
            .collect();
        settings.push((MARKER, "on"));
        Self {
            target: describe_target(&pooled),
            direct: pooled.clone().options(settings),
            pooled,
            rejects_settings: AtomicBool::new(configured.pooler.is_some()),
            local_settings: local.concat(),
        }
    }

    /// Names the server in messages, without credentials.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Opens a connection and finds out how it reaches the server.
    pub async fn open(&self) -> Result<(PgConnection, Access), DatabaseError> {
        let opened = timeout(CONNECT_TIMEOUT, self.log_in_and_read())
            .await
            .unwrap_or_else(|_| Err(DatabaseError::ConnectionLost("no response".to_owned())));
        opened.map_err(|error| self.with_target(error))
    }

    /// Returns the text that begins a transaction: the `begin` statement, and the settings that
    /// a pooled connection has only within it.
    pub fn begin(&self, begin: &str, access: Access) -> String {
        match access {
            Access::Direct => begin.to_owned(),
            Access::Pooled => format!("{begin}{}", self.local_settings),
        }
    }

    /// Returns once the server does not respond to new connections. It is used while the server
    /// executes a statement of which nobody knows how long it takes, on a connection with this
    /// `access`.
    pub async fn stopped_responding(&self, access: Access) -> DatabaseError {
        loop {
            sleep(WATCH_INTERVAL).await;
            // A refusal is a response. Behind a pooler, a statement may have to wait for a
            // connection that becomes free.
            let is_silent = match access {
                Access::Direct => timeout(CONNECT_TIMEOUT, self.log_in_and_read()).await.is_err(),
                Access::Pooled => timeout(CONNECT_TIMEOUT, self.log_in()).await.is_err(),
            };
            if is_silent {
                let error = "the server stopped responding".to_owned();
                return self.with_target(DatabaseError::ConnectionLost(error));
            }
        }
    }

    async fn log_in_and_read(&self) -> Result<(PgConnection, Access), DatabaseError> {
        let mut connection = self.log_in().await?;
        let row = connection.fetch_one(READ_MARKER).await?;
        let is_direct = row.try_get::<Option<&str>, _>(0)?.is_some();
        Ok((connection, if is_direct { Access::Direct } else { Access::Pooled }))
    }

    async fn log_in(&self) -> Result<PgConnection, DatabaseError> {
        if !self.rejects_settings.load(Ordering::Relaxed) {
            match self.direct.connect().await {
                Err(error) if is_rejected_parameter(&error) => {
                    if !self.rejects_settings.swap(true, Ordering::Relaxed) {
                        tracing::info!(
                            %error,
                            "{} is behind a pooler: statements are not prepared",
                            self.target
                        );
                    }
                }
                connected => return Ok(connected?),
            }
        }
        Ok(self.pooled.connect().await?)
    }

    /// Adds the server and the setting that names it to the error.
    fn with_target(&self, error: DatabaseError) -> DatabaseError {
        let setting = variable_of("database.url");
        let at = |text: String| format!("can't connect to {} ({setting}): {text}", self.target);
        match error {
            DatabaseError::ConnectionLost(text) => DatabaseError::ConnectionLost(at(text)),
            DatabaseError::NoConnection(text) => DatabaseError::NoConnection(at(text)),
            DatabaseError::Unavailable(text) => DatabaseError::Unavailable(at(text)),
            DatabaseError::Internal(text) => DatabaseError::Internal(at(text)),
            other => other,
        }
    }
}

/// Whether a pooler refused a login because of its parameters, as `PgBouncer` does by default.
fn is_rejected_parameter(error: &Error) -> bool {
    const PROTOCOL_VIOLATION: &str = "08P01";
    const FEATURE_NOT_SUPPORTED: &str = "0A000";
    let Error::Database(error) = error else { return false };
    error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| match error.code() {
        PROTOCOL_VIOLATION => error.message().contains("startup parameter"),
        code => code == FEATURE_NOT_SUPPORTED,
    })
}

fn describe_target(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("the database {database} at {}", socket.display()),
        None => {
            format!("the database {database} at {}:{}", options.get_host(), options.get_port())
        }
    }
}
