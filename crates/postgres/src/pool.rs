//! A pool of connections that neither pings nor waits for abandoned statements.

use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use parking_lot::Mutex;
use sqlx::{Executor as _, PgConnection};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::connector::{Access, CONNECT_TIMEOUT, Connector};
use crate::error::DatabaseError;
use crate::metrics::{PoolMetrics, UsedGuard};

/// Connections are replaced at this age, which frees the server's caches and follows a
/// changed address. A pooler may have fewer connections than its clients want. It passes them
/// on in turn, so each client gives them back soon.
const MAX_LIFETIME: Duration = Duration::from_mins(30);
const MAX_POOLED_LIFETIME: Duration = Duration::from_secs(1);
/// Unused connections are closed, because other processes may wait for them.
const MAX_IDLE_TIME: Duration = Duration::from_secs(10);
const MAX_POOLED_IDLE_TIME: Duration = Duration::from_millis(250);
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Cached plans are discarded at these intervals: each time the age of a connection doubles,
/// within these limits. Plans made for a small table become slow as it grows.
const MIN_PLAN_LIFETIME: Duration = Duration::from_secs(1);
const MAX_PLAN_LIFETIME: Duration = Duration::from_secs(10);
/// Time limit for discarding plans, which costs the server nothing.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections to one database. Nothing is connected before it is needed.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    /// The right to use a connection.
    permits: Semaphore,
    /// The right to have a connection, also while it is being opened.
    capacity: Arc<Semaphore>,
    max_connections: u32,
    idle: Arc<Idle>,
    closing: AbortHandle,
    pub metrics: PoolMetrics,
}

/// The unused connections.
#[derive(Default)]
struct Idle {
    sessions: Mutex<Vec<Session>>,
    /// Notified when a connection becomes idle, or could not be opened.
    changed: Notify,
}

struct Session {
    connection: PgConnection,
    access: Access,
    opened_at: Instant,
    released_at: Instant,
    replan_at: Instant,
    _capacity: OwnedSemaphorePermit,
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
    pub fn new(connector: Arc<Connector>, max_connections: u32, metrics: PoolMetrics) -> Self {
        let idle = Arc::<Idle>::default();
        let closing = tokio::spawn(close_unused(idle.clone(), metrics.clone())).abort_handle();
        let permits = Semaphore::new(max_connections as usize);
        let capacity = Arc::new(Semaphore::new(max_connections as usize));
        Self { connector, permits, capacity, max_connections, idle, closing, metrics }
    }

    pub fn max_connections(&self) -> u32 {
        self.max_connections
    }

    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Waits for the right to use a connection.
    pub async fn permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, DatabaseError> {
        let busy = || {
            self.metrics.acquire_timed_out();
            let (max, target) = (self.max_connections, self.connector.target());
            DatabaseError::Unavailable(format!("all {max} connections to {target} are busy"))
        };
        let permit = timeout_at(deadline, self.permits.acquire()).await.map_err(|_| busy())?;
        permit.map_err(|_| busy())
    }

    /// Returns the most recently used idle connection, whose statements are prepared, or
    /// opens a new one. `requested_at` is the begin of the wait, for the metrics.
    pub async fn connection<'p>(
        &'p self,
        permit: SemaphorePermit<'p>,
        requested_at: Instant,
    ) -> Result<PooledConnection<'p>, DatabaseError> {
        let session = self.reuse_or_open(requested_at + CONNECT_TIMEOUT).await?;
        self.metrics.acquired(requested_at.elapsed());
        let used = self.metrics.mark_used();
        let is_new = session.opened_at >= requested_at;
        Ok(PooledConnection { pool: self, session, is_new, _permit: permit, _used: used })
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        let mut idle = self.idle.sessions.lock();
        self.metrics.idle.dec_by(i64::try_from(idle.len()).unwrap_or_default());
        idle.clear();
    }

    /// Returns the first connection that is or becomes idle, a new one included. A server that
    /// refuses new connections may have no more than the pool has already. Then this waits for
    /// one of those until the deadline.
    async fn reuse_or_open(&self, deadline: Instant) -> Result<Session, DatabaseError> {
        let mut opening = None;
        let mut refusal = None;
        loop {
            let mut changed = pin!(self.idle.changed.notified());
            // Before looking, so that no connection becomes idle unnoticed.
            changed.as_mut().enable();
            if let Some(session) = self.reuse().await {
                return Ok(session);
            }
            if opening.is_none() && refusal.is_none() {
                opening = self.start_opening();
            }
            tokio::select! {
                biased;
                Some(opened) = OptionFuture::from(opening.as_mut()) => {
                    opening = None;
                    match opened {
                        Ok(Err(error @ DatabaseError::NoConnection(_)))
                            if self.is_used_by_others() =>
                        {
                            refusal = Some(error);
                        }
                        Ok(Err(error)) => return Err(error),
                        // It is idle now, or another caller has it.
                        Ok(Ok(())) | Err(_) => {}
                    }
                }
                () = changed => {}
                () = sleep_until(deadline), if refusal.is_some() => {
                    if let Some(error) = refusal.take() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Opens a connection in the background unless there are enough. It becomes idle even if
    /// its caller has found another one meanwhile, as opening one takes much of the server's
    /// time.
    fn start_opening(&self) -> Option<JoinHandle<Result<(), DatabaseError>>> {
        let capacity = self.capacity.clone().try_acquire_owned().ok()?;
        let (connector, idle) = (self.connector.clone(), self.idle.clone());
        let metrics = self.metrics.clone();
        Some(tokio::spawn(async move {
            let opened = connector.open().await.map(|(connection, access)| {
                let opened_at = Instant::now();
                let replan_at = opened_at + MIN_PLAN_LIFETIME;
                idle.sessions.lock().push(Session {
                    connection,
                    access,
                    opened_at,
                    released_at: opened_at,
                    replan_at,
                    _capacity: capacity,
                });
                metrics.idle.inc();
            });
            idle.changed.notify_one();
            opened
        }))
    }

    /// Whether others have a permit besides the caller.
    fn is_used_by_others(&self) -> bool {
        self.permits.available_permits() + 1 < self.max_connections as usize
    }

    async fn reuse(&self) -> Option<Session> {
        loop {
            let mut session = self.idle.sessions.lock().pop()?;
            self.metrics.idle.dec();
            let now = Instant::now();
            // A pooler keeps no plans.
            if now < session.replan_at || session.access == Access::Pooled {
                return Some(session);
            }
            let discard = session.connection.execute("DISCARD PLANS");
            if timeout(DISCARD_TIMEOUT, discard).await.is_ok_and(|result| result.is_ok()) {
                session.replan_at = now + plan_lifetime(session.opened_at.elapsed());
                return Some(session);
            }
            // The connection is dead, and so are the others.
            self.close_idle();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.closing.abort();
    }
}

impl Session {
    fn is_expired(&self) -> bool {
        let (max_age, max_idle) = match self.access {
            Access::Direct => (MAX_LIFETIME, MAX_IDLE_TIME),
            Access::Pooled => (MAX_POOLED_LIFETIME, MAX_POOLED_IDLE_TIME),
        };
        self.opened_at.elapsed() >= max_age || self.released_at.elapsed() >= max_idle
    }
}

/// Closes connections that have not been used for some time.
async fn close_unused(idle: Arc<Idle>, metrics: PoolMetrics) {
    loop {
        sleep(IDLE_CHECK_INTERVAL).await;
        let expired: Vec<Session> =
            idle.sessions.lock().extract_if(.., |session| session.is_expired()).collect();
        metrics.idle.dec_by(i64::try_from(expired.len()).unwrap_or_default());
    }
}

impl PooledConnection<'_> {
    /// Returns `true` if the connection was opened for this use. An error of an older one
    /// may be caused by its age.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns the connection to the pool. No statement may be running.
    pub fn release(mut self) {
        self.session.released_at = Instant::now();
        if !self.session.is_expired() {
            self.pool.idle.sessions.lock().push(self.session);
            self.pool.metrics.idle.inc();
            self.pool.idle.changed.notify_one();
        }
    }

    pub fn access(&self) -> Access {
        self.session.access
    }

    pub fn connector(&self) -> &Connector {
        &self.pool.connector
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_lifetime_grows_with_age_within_limits() {
        let lifetimes = [0, 3, 700].map(|age| plan_lifetime(Duration::from_secs(age)).as_secs());
        assert_eq!(lifetimes, [1, 3, 10]);
    }
}
