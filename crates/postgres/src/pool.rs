//! A pool of connections that neither pings nor waits for abandoned statements.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use miniapp_config::variable_of;
use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::error::DatabaseError;
use crate::metrics::{PoolMetrics, UsedGuard};

/// Time limit for obtaining a connection, and for opening one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections are replaced at this age, which frees the server's caches and follows a
/// changed address.
const MAX_LIFETIME: Duration = Duration::from_mins(30);
/// Cached plans are discarded at these intervals: each time the age of a connection doubles,
/// within these limits. Plans made for a small table become slow as it grows.
const MIN_PLAN_LIFETIME: Duration = Duration::from_secs(1);
const MAX_PLAN_LIFETIME: Duration = Duration::from_secs(10);

/// Connections to one database. Nothing is connected before it is needed.
pub(crate) struct Pool {
    options: PgConnectOptions,
    /// The statements that configure a new connection.
    setup: String,
    target: String,
    permits: Semaphore,
    max_connections: u32,
    idle: Mutex<Vec<Session>>,
    pub metrics: PoolMetrics,
}

struct Session {
    connection: PgConnection,
    opened_at: Instant,
    replan_at: Instant,
}

/// A connection in use. Dropping it closes the connection, because a statement may still be
/// running; [`PooledConnection::release`] returns it to the pool.
pub(crate) struct PooledConnection<'p> {
    pool: &'p Pool,
    session: Session,
    /// It was opened for this use.
    is_new: bool,
    _permit: SemaphorePermit<'p>,
    _used: UsedGuard,
}

impl Pool {
    pub fn new(
        options: PgConnectOptions,
        setup: String,
        max_connections: u32,
        metrics: PoolMetrics,
    ) -> Self {
        Self {
            target: describe_target(&options),
            options,
            setup,
            permits: Semaphore::new(max_connections as usize),
            max_connections,
            idle: Mutex::default(),
            metrics,
        }
    }

    pub fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// Waits for the right to use a connection.
    pub async fn permit(&self) -> Result<SemaphorePermit<'_>, DatabaseError> {
        let busy = || {
            self.metrics.acquire_timed_out();
            let max = self.max_connections;
            DatabaseError::Unavailable(format!("all {max} connections to {} are busy", self.target))
        };
        let permit = timeout(CONNECT_TIMEOUT, self.permits.acquire()).await.map_err(|_| busy())?;
        permit.map_err(|_| busy())
    }

    /// Returns the most recently used idle connection, whose statements are prepared, or
    /// opens a new one. `requested_at` is the begin of the wait, for the metrics.
    pub async fn connection<'p>(
        &'p self,
        permit: SemaphorePermit<'p>,
        requested_at: Instant,
    ) -> Result<PooledConnection<'p>, DatabaseError> {
        let (session, is_new) = match self.reuse().await {
            Some(session) => (session, false),
            None => (self.open().await?, true),
        };
        self.metrics.acquired(requested_at.elapsed());
        let used = self.metrics.mark_used();
        Ok(PooledConnection { pool: self, session, is_new, _permit: permit, _used: used })
    }

    /// Opens a connection that is not part of the pool and has no settings.
    pub async fn connect_bare(&self) -> Result<PgConnection, DatabaseError> {
        match timeout(CONNECT_TIMEOUT, self.options.connect()).await {
            Ok(connected) => connected.map_err(|error| self.with_target(error.into())),
            Err(_) => {
                Err(self.with_target(DatabaseError::ConnectionLost("no response".to_owned())))
            }
        }
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        let mut idle = self.idle.lock();
        self.metrics.idle.dec_by(i64::try_from(idle.len()).unwrap_or_default());
        idle.clear();
    }

    async fn reuse(&self) -> Option<Session> {
        loop {
            let mut session = self.idle.lock().pop()?;
            self.metrics.idle.dec();
            let now = Instant::now();
            if now < session.replan_at {
                return Some(session);
            }
            let discard = session.connection.execute("DISCARD PLANS");
            if timeout(CONNECT_TIMEOUT, discard).await.is_ok_and(|result| result.is_ok()) {
                session.replan_at = now + plan_lifetime(session.opened_at.elapsed());
                return Some(session);
            }
            // The connection is dead, and so are the others.
            self.close_idle();
        }
    }

    async fn open(&self) -> Result<Session, DatabaseError> {
        let mut connection = self.connect_bare().await?;
        let setup = sqlx::raw_sql(sqlx::AssertSqlSafe(self.setup.clone()));
        connection.execute(setup).await.map_err(|error| self.with_target(error.into()))?;
        let opened_at = Instant::now();
        Ok(Session { connection, opened_at, replan_at: opened_at + MIN_PLAN_LIFETIME })
    }

    /// Adds the server and the setting that names it to the error.
    fn with_target(&self, error: DatabaseError) -> DatabaseError {
        let setting = variable_of("database.url");
        let at = |text: String| format!("can't connect to {} ({setting}): {text}", self.target);
        match error {
            DatabaseError::ConnectionLost(text) => DatabaseError::ConnectionLost(at(text)),
            DatabaseError::Unavailable(text) => DatabaseError::Unavailable(at(text)),
            DatabaseError::Internal(text) => DatabaseError::Internal(at(text)),
            other => other,
        }
    }
}

impl PooledConnection<'_> {
    /// Returns `true` if the connection was opened for this use. An error of an older one
    /// may be caused by its age.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns the connection to the pool. No statement may be running.
    pub fn release(self) {
        if self.session.opened_at.elapsed() < MAX_LIFETIME {
            self.pool.idle.lock().push(self.session);
            self.pool.metrics.idle.inc();
        }
    }
}

impl Deref for PooledConnection<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.session.connection
    }
}

impl DerefMut for PooledConnection<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.session.connection
    }
}

fn plan_lifetime(age: Duration) -> Duration {
    age.clamp(MIN_PLAN_LIFETIME, MAX_PLAN_LIFETIME)
}

/// Names the server in logs, without credentials.
fn describe_target(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("the database {database} at {}", socket.display()),
        None => {
            format!("the database {database} at {}:{}", options.get_host(), options.get_port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_lifetime_grows_with_age_within_limits() {
        let lifetimes = [0, 3, 700].map(|age| plan_lifetime(Duration::from_secs(age)).as_secs());
        assert_eq!(lifetimes, [1, 3, 10]);
    }
}
