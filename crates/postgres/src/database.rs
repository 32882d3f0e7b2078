//! Statements on a database, with retries.

use std::time::Duration;

use futures_util::{TryFutureExt as _, TryStreamExt as _};
use miniapp_config::{Database as Settings, Synchronous};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, Executor as _, Postgres, Row as _};
use tokio::time::{Instant, timeout};

use crate::error::DatabaseError;
use crate::metrics::PoolMetrics;
use crate::migrate::Migrations;
use crate::pool::{Pool, PooledConnection};

/// A statement with its arguments.
pub type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Time limit for a response. The server's `statement_timeout` ends a statement earlier, so
/// reaching this limit means that the connection is dead.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(12);
/// Maximum number of attempts of a statement that conflicts with others.
const MAX_ATTEMPTS: usize = 10;

/// The settings of every connection.
///
/// Statements hold row locks for milliseconds. A longer wait for a lock is caused by another
/// client, and failing is better than blocking the pool.
const SETUP: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
     SET idle_in_transaction_session_timeout = '30s'";

/// A database with the tables of one store.
///
/// Nothing is connected before the first use, and the server may be unreachable at first:
/// migrations run with the first use that connects. Each use fails on its own while the
/// server is away.
///
/// Connections are not tested before or after use, which would double the number of round
/// trips. A statement whose connection turns out to be dead is sent once more on a new one.
pub struct Database {
    pool: Pool,
    migrations: Migrations,
}

impl Database {
    /// Creates a client for the configured database whose tables `migrations` create.
    pub fn new(settings: &Settings, migrations: Option<Migrator>) -> Result<Self, DatabaseError> {
        let options: Result<PgConnectOptions, sqlx::Error> = settings.url.expose().parse();
        let options = options.map_err(|error| {
            DatabaseError::Internal(format!("the database URL is invalid: {error}"))
        })?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("miniapp"),
        };
        let options = options.disable_statement_logging().statement_cache_capacity(128);
        let setup = match settings.synchronous {
            // The server's setting, which may wait for replicas.
            Synchronous::Full => SETUP.to_owned(),
            Synchronous::Normal => format!("{SETUP}; SET synchronous_commit = off"),
        };
        let metrics = PoolMetrics::new("other", settings.connections);
        let pool = Pool::new(options, setup, settings.connections, metrics);
        Ok(Self { pool, migrations: Migrations::new(migrations) })
    }

    /// Sets the pool's name in the metrics.
    #[must_use]
    pub fn with_pool_name(mut self, name: &'static str) -> Self {
        self.pool.metrics = PoolMetrics::new(name, self.pool.max_connections());
        self
    }

    /// Returns the rows of a statement.
    ///
    /// The statement is sent again after a conflict, and once more if its connection was
    /// dead. It therefore has to be idempotent.
    pub async fn fetch_all<'q>(
        &self,
        statement: impl Fn() -> Statement<'q>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let mut attempt = 1;
        loop {
            let mut connection = self.acquire().await?;
            let rows = connection.fetch_all(statement()).map_err(DatabaseError::from);
            match with_timeout(rows).await {
                Ok(rows) => {
                    connection.release();
                    return Ok(rows);
                }
                Err(error) => self.release_after(connection, error, attempt)?,
            }
            attempt += 1;
        }
    }

    /// Calls `handle` for each row of a statement, without holding all of them in memory.
    /// After a retry, `handle` sees the rows again from the first one on.
    pub async fn for_each_row<'q, E: From<DatabaseError>>(
        &self,
        statement: impl Fn() -> Statement<'q>,
        mut handle: impl FnMut(&PgRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut attempt = 1;
        loop {
            let mut connection = self.acquire().await?;
            let mut rows = connection.fetch(statement());
            let error = loop {
                match with_timeout(rows.try_next().map_err(DatabaseError::from)).await {
                    Ok(Some(row)) => handle(&row)?,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            drop(rows);
            let Some(error) = error else {
                connection.release();
                return Ok(());
            };
            self.release_after(connection, error, attempt)?;
            attempt += 1;
        }
    }

    /// Returns the first row of a statement. See [`Database::fetch_all`].
    pub async fn fetch_optional<'q>(
        &self,
        statement: impl Fn() -> Statement<'q>,
    ) -> Result<Option<PgRow>, DatabaseError> {
        Ok(self.fetch_all(statement).await?.into_iter().next())
    }

    /// Checks that the database answers and accepts writes.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        const IS_READ_ONLY: &str =
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'";
        let row = self.fetch_optional(|| sqlx::query(IS_READ_ONLY)).await?;
        if row.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            // A new connection may reach the primary.
            self.pool.close_idle();
            return Err(DatabaseError::ReadOnly);
        }
        Ok(())
    }

    /// Returns a connection to a migrated database.
    pub(crate) async fn acquire(&self) -> Result<PooledConnection<'_>, DatabaseError> {
        let requested_at = Instant::now();
        let permit = self.pool.permit().await?;
        self.migrations.ensure_applied(&self.pool).await?;
        self.pool.connection(permit, requested_at).await
    }

    /// Returns or closes a connection after an error. Returns the error unless the same
    /// statement should be tried again.
    pub(crate) fn release_after(
        &self,
        connection: PooledConnection<'_>,
        error: DatabaseError,
        attempt: usize,
    ) -> Result<(), DatabaseError> {
        let retry = match error {
            // A new connection may succeed where an old one was dead.
            DatabaseError::ConnectionLost(_) => !connection.is_new(),
            DatabaseError::Conflict(_) => attempt < MAX_ATTEMPTS,
            _ => false,
        };
        if error.keeps_connection() {
            connection.release();
        } else {
            // The idle ones lead to the same server.
            self.pool.close_idle();
        }
        if retry { Ok(()) } else { Err(error) }
    }
}

/// Awaits a response of the server, up to the time at which the server must have given up.
pub async fn with_timeout<T, E: From<DatabaseError>>(
    response: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(RESPONSE_TIMEOUT, response).await.unwrap_or_else(|_| {
        let seconds = RESPONSE_TIMEOUT.as_secs();
        Err(DatabaseError::ConnectionLost(format!("the database did not respond in {seconds} s"))
            .into())
    })
}
