//! Connections to a database, a few that are used again and again.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures_util::{TryFutureExt as _, TryStreamExt as _};
use miniapp_config::{Database as Settings, Synchronous, variable_of};
use parking_lot::Mutex;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Postgres, Row as _};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::error::DatabaseError;
use crate::metrics::{PoolMetrics, UsedGuard};

/// A statement with its arguments.
pub type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer. The server gives up before; beyond that, the
/// connection leads nowhere.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(12);
/// After this long a connection is replaced, so that what the server keeps for it, and
/// an address that has moved, don't stay for ever.
const MAX_LIFETIME: Duration = Duration::from_mins(30);
/// How often a statement is tried while others are in its way.
const MAX_ATTEMPTS: usize = 10;

/// The advisory lock of those who migrate: "miniapp" in ASCII.
const MIGRATION_LOCK: i64 = 0x006d_696e_6961_7070;
/// How often to ask for it.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What every connection is set to.
///
/// Ours lock rows for moments. Who waits longer for a lock has met somebody else's, and
/// says so instead of holding up what could be done meanwhile.
///
/// Plans are made once a connection, from the size that tables have then. They have to be
/// good when those have grown, so they are to use indexes in the order that is asked for,
/// and nested loops over the lists that are sent. (What has no index still runs without.)
const SESSION: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
     SET idle_in_transaction_session_timeout = '30s'; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off; \
     SET enable_sort = off; SET max_parallel_workers_per_gather = 0; SET jit = off";

/// A database with the tables of one store.
///
/// Nothing is connected before it is needed, and what is missing at first may come later:
/// migrations run with the first use that succeeds in connecting. Every use that finds
/// the server away says so, and the next one tries anew.
///
/// There is no ping before or after a use, which would double the round trips. A
/// statement that finds its connection dead is sent once more on a new one.
pub struct Database {
    options: PgConnectOptions,
    target: String,
    session: String,
    migrations: Option<Migrator>,
    migrated: OnceCell<()>,
    permits: Semaphore,
    max_connections: u32,
    idle: Mutex<Vec<Session>>,
    metrics: PoolMetrics,
}

/// A connection that is ready for use.
struct Session {
    connection: PgConnection,
    born: Instant,
}

/// A connection in use. It is closed when this is dropped, because nobody knows what it
/// is still busy with then; [`Lease::end`] keeps it.
pub(crate) struct Lease<'d> {
    database: &'d Database,
    session: Session,
    is_new: bool,
    _permit: SemaphorePermit<'d>,
    _used: UsedGuard,
}

impl Database {
    /// The database that `settings` name, with the tables that `migrations` make.
    pub fn new(settings: &Settings, migrations: Option<Migrator>) -> Result<Self, DatabaseError> {
        let options: Result<PgConnectOptions, sqlx::Error> = settings.url.expose().parse();
        let options = options.map_err(|error| {
            DatabaseError::Internal(format!("the address of the database can't be read: {error}"))
        })?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("miniapp"),
        };
        Ok(Self {
            target: target(&options),
            options: options.disable_statement_logging().statement_cache_capacity(128),
            session: match settings.synchronous {
                // As the server says, which may be to wait for its replicas too.
                Synchronous::Full => SESSION.to_owned(),
                Synchronous::Normal => format!("{SESSION}; SET synchronous_commit = off"),
            },
            migrations: migrations.map(|mut migrations| {
                // A replica of before has to start again while newer ones run: a newer
                // schema serves it too. Taking turns is up to us.
                migrations.set_ignore_missing(true).set_locking(false);
                migrations
            }),
            migrated: OnceCell::new(),
            permits: Semaphore::new(settings.connections as usize),
            max_connections: settings.connections,
            idle: Mutex::default(),
            metrics: PoolMetrics::new("other", settings.connections),
        })
    }

    /// The same, known in the metrics by what its connections are for.
    #[must_use]
    pub fn with_pool_name(self, name: &'static str) -> Self {
        Self { metrics: PoolMetrics::new(name, self.max_connections), ..self }
    }

    /// The rows that a statement answers. It is sent again where others were in its way,
    /// and where its connection was dead or died: so it has to be one that does no harm
    /// when it is done twice.
    pub async fn fetch_all<'q>(
        &self,
        statement: impl Fn() -> Statement<'q>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut lease = self.lease().await?;
            match with_timeout(lease.fetch_all(statement()).map_err(DatabaseError::from)).await {
                Ok(rows) => {
                    lease.end();
                    return Ok(rows);
                }
                Err(fault) => lease.end_for_another(fault, tries)?,
            }
        }
    }

    /// Like [`Database::fetch_all`], for more of them than should be in memory. Those that came
    /// may come again, from the first on.
    pub async fn for_each_row<'q, E: From<DatabaseError>>(
        &self,
        statement: impl Fn() -> Statement<'q>,
        mut take: impl FnMut(&PgRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut lease = self.lease().await?;
            let mut rows = lease.fetch(statement());
            let fault = loop {
                match with_timeout(rows.try_next().map_err(DatabaseError::from)).await {
                    Ok(Some(row)) => take(&row)?,
                    Ok(None) => break None,
                    Err(fault) => break Some(fault),
                }
            };
            drop(rows);
            let Some(fault) = fault else {
                lease.end();
                return Ok(());
            };
            lease.end_for_another(fault, tries)?;
        }
    }

    /// Like [`Database::fetch_all`], for at most one.
    pub async fn fetch_optional<'q>(
        &self,
        statement: impl Fn() -> Statement<'q>,
    ) -> Result<Option<PgRow>, DatabaseError> {
        Ok(self.fetch_all(statement).await?.into_iter().next())
    }

    /// Whether the database answers and takes writes.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        const ASK: &str =
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'";
        let row = self.fetch_optional(|| sqlx::query(ASK)).await?;
        if row.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            // Another connection may lead to the primary.
            self.close_idle();
            return Err(DatabaseError::ReadOnly);
        }
        Ok(())
    }

    /// A connection, and the right to one.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, DatabaseError> {
        let asked_at = Instant::now();
        let busy = || {
            self.metrics.acquire_timed_out();
            let max = self.max_connections;
            DatabaseError::Unavailable(format!("all {max} connections to {} are busy", self.target))
        };
        let permit = timeout(CONNECT_TIMEOUT, self.permits.acquire()).await.map_err(|_| busy())?;
        let permit = permit.map_err(|_| busy())?;
        self.migrated.get_or_try_init(|| self.migrate()).await?;
        let kept = self.idle.lock().pop();
        let is_new = kept.is_none();
        let session = match kept {
            Some(session) => {
                self.metrics.idle.dec();
                session
            }
            None => Session { connection: self.connect().await?, born: Instant::now() },
        };
        self.metrics.acquired(asked_at.elapsed());
        let used = self.metrics.mark_used();
        Ok(Lease { database: self, session, is_new, _permit: permit, _used: used })
    }

    /// Closes the connections that aren't in use.
    fn close_idle(&self) {
        let mut idle = self.idle.lock();
        self.metrics.idle.dec_by(i64::try_from(idle.len()).unwrap_or_default());
        idle.clear();
    }

    /// A connection as it is used for statements.
    async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        let mut connection = self.connect_bare().await?;
        let set = sqlx::raw_sql(sqlx::AssertSqlSafe(self.session.clone()));
        connection.execute(set).await.map_err(|error| self.with_target(error.into()))?;
        Ok(connection)
    }

    async fn connect_bare(&self) -> Result<PgConnection, DatabaseError> {
        match timeout(CONNECT_TIMEOUT, self.options.connect()).await {
            Ok(connected) => connected.map_err(|error| self.with_target(error.into())),
            Err(_) => Err(self.with_target(DatabaseError::ConnectionLost("no answer".to_owned()))),
        }
    }

    /// Says which server it is about, and where that is set.
    fn with_target(&self, fault: DatabaseError) -> DatabaseError {
        let setting = variable_of("database.url");
        let at = |text: String| format!("can't connect to {} ({setting}): {text}", self.target);
        match fault {
            DatabaseError::ConnectionLost(text) => DatabaseError::ConnectionLost(at(text)),
            DatabaseError::Unavailable(text) => DatabaseError::Unavailable(at(text)),
            DatabaseError::Internal(text) => DatabaseError::Internal(at(text)),
            other => other,
        }
    }

    /// Brings the tables up to date. Replicas that start together take turns.
    async fn migrate(&self) -> Result<(), DatabaseError> {
        const TURN: &str = "SELECT pg_try_advisory_lock($1)";
        let Some(migrations) = &self.migrations else { return Ok(()) };
        // A connection of its own: it ends with whatever lock is left, and a migration may
        // take its time.
        let mut connection = self.connect_bare().await?;
        // What is there already is no news.
        connection.execute("SET client_min_messages = warning").await?;
        // Asked for again and again, not waited for: who waits in the server holds a
        // snapshot, for the end of which an index that is built concurrently waits.
        while !sqlx::query_scalar(TURN).bind(MIGRATION_LOCK).fetch_one(&mut connection).await? {
            tokio::time::sleep(LOCK_POLL_INTERVAL).await;
        }
        // `run` is the same, but its future isn't `Send` for the compiler.
        migrations.run_direct(None, &mut connection, false).await?;
        Ok(())
    }
}

impl Lease<'_> {
    /// Keeps the connection for the next one, who gets the one that was used last: its
    /// statements are prepared and its memory is warm.
    pub fn end(self) {
        if self.session.born.elapsed() < MAX_LIFETIME {
            self.database.idle.lock().push(self.session);
            self.database.metrics.idle.inc();
        }
    }

    /// Ends the use after `fault`, which it gives back unless it makes sense to try the
    /// same once more after so many `tries`.
    pub fn end_for_another(self, fault: DatabaseError, tries: usize) -> Result<(), DatabaseError> {
        let again = match fault {
            // Of an old connection it may tell nothing of the server.
            DatabaseError::ConnectionLost(_) => !self.is_new,
            DatabaseError::Conflict(_) => tries < MAX_ATTEMPTS,
            _ => false,
        };
        if fault.keeps_connection() {
            self.end();
        } else {
            // The others lead to the same server, which isn't there any more.
            self.database.close_idle();
        }
        if again { Ok(()) } else { Err(fault) }
    }
}

impl Deref for Lease<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.session.connection
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.session.connection
    }
}

/// What a server answers, or that it doesn't in a time in which it should have given up.
pub async fn with_timeout<T, E: From<DatabaseError>>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(RESPONSE_TIMEOUT, asked).await.unwrap_or_else(|_| {
        let seconds = RESPONSE_TIMEOUT.as_secs();
        Err(DatabaseError::ConnectionLost(format!("the database gave no answer in {seconds} s"))
            .into())
    })
}

/// Where a server is, in the words of logs.
fn target(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("the database {database} at {}", socket.display()),
        None => {
            format!("the database {database} at {}:{}", options.get_host(), options.get_port())
        }
    }
}
