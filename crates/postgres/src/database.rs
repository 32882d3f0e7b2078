//! Statements on a database, with retries.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{TryFutureExt as _, TryStreamExt as _};
use miniapp_config::Database as Settings;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, Postgres, Row as _};
use tokio::time::{Instant, timeout, timeout_at};

use crate::connector::Connector;
use crate::error::DatabaseError;
use crate::metrics::PoolMetrics;
use crate::migrate::Migrations;
use crate::pool::{Pool, PooledConnection};
use crate::response::{LONG_RESPONSE_TIMEOUT, RESPONSE_TIMEOUT, no_response, with_timeout};

/// A statement with its arguments.
pub type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Time limit for obtaining a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of attempts of a statement that conflicts with others.
const MAX_ATTEMPTS: usize = 10;

/// A database with the tables of one store.
///
/// Nothing is connected before the first use, and the server may be unreachable at first:
/// migrations run with the first use that connects. Each use fails on its own while the
/// server is away.
///
/// Connections are not tested before or after use, which would double the number of round
/// trips. A statement whose connection turns out to be dead is sent once more on a new one.
/// Every wait for the server has a time limit, after which the connection is closed.
///
/// Behind a connection pooler, each statement runs in a transaction of its own with the
/// settings that a direct connection has for its session.
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
        let options = match &settings.pooler {
            Some(host) => options.host(host),
            None => options,
        };
        let options = options.disable_statement_logging().statement_cache_capacity(128);
        let connector = Arc::new(Connector::new(options, settings));
        let metrics = PoolMetrics::new("other", settings.connections);
        let pool = Pool::new(connector, settings.connections, metrics);
        Ok(Self { pool, migrations: Migrations::new(migrations) })
    }

    /// Sets the pool's name in the metrics.
    #[must_use]
    pub fn with_pool_name(mut self, name: &'static str) -> Self {
        let max = self.pool.max_connections();
        self.pool = Pool::new(self.pool.connector().clone(), max, PoolMetrics::new(name, max));
        self
    }

    /// Sets the statements that give other roles their rights to the tables. They run after
    /// the migrations, with [`Database::migrate`] even if there is nothing to migrate.
    #[must_use]
    pub fn with_grants(mut self, statements: &'static str) -> Self {
        self.migrations.set_grants(statements);
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
        self.fetch(statement, RESPONSE_TIMEOUT).await
    }

    /// Returns the rows of a statement that may take long, such as one that reads a whole
    /// table. See [`Database::fetch_all`].
    pub async fn scan<'q>(
        &self,
        statement: impl Fn() -> Statement<'q>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        self.fetch(statement, LONG_RESPONSE_TIMEOUT).await
    }

    async fn fetch<'q>(
        &self,
        statement: impl Fn() -> Statement<'q>,
        limit: Duration,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let mut attempt = 1;
        loop {
            let mut connection = self.acquire().await?;
            let access = connection.access();
            let rows = timeout(limit, connection.fetch_alone(statement()));
            let rows = tokio::select! {
                biased;
                rows = rows => rows,
                error = self.pool.connector().stopped_responding(access), if limit > RESPONSE_TIMEOUT => {
                    Ok(Err(error))
                }
            };
            // A second attempt would take as long.
            let is_last = rows.is_err() && limit > RESPONSE_TIMEOUT;
            let number = if is_last { MAX_ATTEMPTS } else { attempt };
            let rows = rows.unwrap_or_else(|_| Err(no_response(limit)));
            match rows {
                Ok(rows) => {
                    connection.release();
                    return Ok(rows);
                }
                Err(error) => self.release_after(connection, error, number)?,
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
            let begun = with_timeout(connection.begin_alone()).await;
            let error = match begun {
                Ok(()) => {
                    let mut rows = connection.stream(statement());
                    loop {
                        let next = rows.try_next().map_err(DatabaseError::from);
                        match with_timeout(next).await {
                            Ok(Some(row)) => handle(&row)?,
                            Ok(None) => break None,
                            Err(error) => break Some(error),
                        }
                    }
                }
                Err(error) => Some(error),
            };
            let error = match error {
                None => with_timeout(connection.end_alone(true)).await.err(),
                error => error,
            };
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

    /// Applies the migrations and the grants, however long they take, and checks that the
    /// database answers.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        self.migrations.update(self.pool.connector()).await?;
        self.ping().await
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
        let deadline = requested_at + ACQUIRE_TIMEOUT;
        let acquired = async {
            let permit = self.pool.permit(deadline).await?;
            self.migrations.ensure_applied(self.pool.connector()).await?;
            self.pool.connection(permit, requested_at).await
        };
        timeout_at(deadline, acquired).await.unwrap_or_else(|_| {
            let (seconds, target) = (ACQUIRE_TIMEOUT.as_secs(), self.pool.connector().target());
            let error = format!("no connection to {target} within {seconds} s");
            Err(DatabaseError::Unavailable(error))
        })
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
            DatabaseError::ConnectionLost(_) => !connection.is_new() && attempt < MAX_ATTEMPTS,
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
