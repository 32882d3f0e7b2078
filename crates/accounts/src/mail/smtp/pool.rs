//! Connections to the mail server. One whose mail was cancelled halfway is not used again:
//! the next command would become part of that mail.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::error::SmtpError;
use super::message::Message;
use super::server::Server;

const MAX_CONNECTIONS: usize = 4;
/// Connections that are idle for longer are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an idle connection may take to respond before a new one replaces it. Firewalls drop
/// idle connections without a sign.
const IDLE_CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the server is left alone after an error that needs intervention: servers lock
/// out clients that repeat a wrong password.
const BACKOFF: Duration = Duration::from_secs(30);

pub(super) struct ConnectionPool {
    server: Server,
    /// The name of this machine.
    hello: String,
    permits: Semaphore,
    /// Idle connections and since when they are.
    idle: Mutex<Vec<(Instant, Connection)>>,
    /// The last error, if it needs intervention.
    last_error: Mutex<Option<(Instant, SmtpError)>>,
}

/// A connection in use. It is closed unless it is [released](Self::release).
pub(super) struct PooledConnection<'a> {
    inner: Connection,
    pool: &'a ConnectionPool,
    _permit: SemaphorePermit<'a>,
}

impl ConnectionPool {
    pub fn new(server: Server) -> Self {
        Self {
            server,
            hello: host_name(),
            permits: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::default(),
            last_error: Mutex::default(),
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns an idle connection that still works, or a new one.
    pub async fn acquire(&self) -> Result<PooledConnection<'_>, SmtpError> {
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|_| SmtpError::temporary("the pool is closed".to_owned()))?;
        while let Some(mut inner) = self.take_idle() {
            if let Ok(true) = timeout(IDLE_CHECK_TIMEOUT, inner.is_alive()).await {
                return Ok(PooledConnection { inner, pool: self, _permit: permit });
            }
        }
        if let Some((at, error)) = &*self.last_error.lock()
            && at.elapsed() < BACKOFF
        {
            return Err(error.clone());
        }
        let connected = Connection::open(&self.server, &self.hello).await;
        let error = connected.as_ref().err().filter(|error| error.needs_intervention());
        *self.last_error.lock() = error.map(|error| (Instant::now(), error.clone()));
        Ok(PooledConnection { inner: connected?, pool: self, _permit: permit })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|(since, _)| since.elapsed() < IDLE_TIMEOUT);
        idle.pop().map(|(_, connection)| connection)
    }
}

impl PooledConnection<'_> {
    /// Returns the connection to the pool.
    pub fn release(self) {
        self.pool.idle.lock().push((Instant::now(), self.inner));
    }

    /// Resets the connection after a rejected mail. Returns whether it can be used again.
    pub async fn reset(&mut self) -> bool {
        self.inner.reset().await
    }

    /// Hands a mail over. On success the server is responsible for it.
    pub async fn deliver(&mut self, message: &Message) -> Result<(), SmtpError> {
        self.inner.deliver(&self.pool.server, message).await
    }
}

/// Returns the name of this machine, or the literal that RFC 5321 prescribes without one.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if !name.is_empty() && name.chars().all(is_valid) {
        name.into_owned()
    } else {
        "[127.0.0.1]".to_owned()
    }
}
