//! Migrations, applied by the first use that reaches the database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use tokio::time::{sleep, timeout};

use crate::connector::{Access, Connector};
use crate::error::DatabaseError;
use crate::response::with_timeout;

/// The advisory lock of migrating processes: "miniapp" in ASCII.
const MIGRATION_LOCK: i64 = 0x006d_696e_6961_7070;
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a use waits for running migrations.
const WAIT_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest time a migration may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_hours(1);

/// Locks of other clients end a migration, so that it does not block their later statements.
/// Its own statements may take long. The lock of a process that lost its network is released.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '3s'; \
     SET LOCAL idle_in_transaction_session_timeout = '10s'";
/// While a migration outside a transaction runs on another connection.
const KEEP_LOCK: &str = "SET LOCAL idle_in_transaction_session_timeout = '1h'";

/// The result of one run, for everyone who waits for it.
type Run = Shared<BoxFuture<'static, Result<(), DatabaseError>>>;

/// The migrations of one store.
pub(crate) struct Migrations {
    migrator: Option<Arc<Migrator>>,
    /// Statements that follow the last migration.
    grants: &'static str,
    latest: Mutex<Option<Run>>,
}

/// Why the migrations run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A store is about to be used. Its role may lack the right to change tables.
    Use,
    /// The tables and the rights of other roles have to be up to date.
    Update,
}

impl Migrations {
    pub fn new(migrator: Option<Migrator>) -> Self {
        Self { migrator: migrator.map(Arc::new), grants: "", latest: Mutex::default() }
    }

    /// Sets the statements that give other roles their rights to the tables.
    pub fn set_grants(&mut self, grants: &'static str) {
        self.grants = grants;
    }

    /// Applies the migrations unless this has succeeded before. They run on their own: they
    /// continue if a use that waits for them is canceled. A role that may not change tables
    /// fails until their owner has applied the migrations.
    pub async fn ensure_applied(&self, connector: &Arc<Connector>) -> Result<(), DatabaseError> {
        let Some(run) = self.run(connector) else { return Ok(()) };
        timeout(WAIT_TIMEOUT, run).await.unwrap_or_else(|_| {
            let target = connector.target();
            let error = format!("migrations of {target} have not finished yet");
            Err(DatabaseError::Unavailable(error))
        })
    }

    /// Applies the migrations and the grants, however long they take.
    pub async fn update(&self, connector: &Arc<Connector>) -> Result<(), DatabaseError> {
        let Some(run) = self.start(connector, Purpose::Update) else { return Ok(()) };
        *self.latest.lock() = Some(run.clone());
        run.await
    }

    /// Returns the current run, or `None` if one has succeeded. Starts one if none is running.
    fn run(&self, connector: &Arc<Connector>) -> Option<Run> {
        let mut latest = self.latest.lock();
        match latest.as_ref().map(Run::peek) {
            Some(Some(Ok(()))) => None,
            Some(None) => latest.clone(),
            None | Some(Some(Err(_))) => {
                *latest = self.start(connector, Purpose::Use);
                latest.clone()
            }
        }
    }

    fn start(&self, connector: &Arc<Connector>, purpose: Purpose) -> Option<Run> {
        let (migrator, connector) = (self.migrator.clone()?, connector.clone());
        let grants = self.grants;
        let running =
            tokio::spawn(async move { apply(&migrator, grants, &connector, purpose).await });
        let run = async move {
            let panicked = |error| DatabaseError::Internal(format!("a migration failed: {error}"));
            running.await.map_err(panicked).flatten()
        };
        Some(run.boxed().shared())
    }
}

/// Applies the migrations one by one; one process at a time.
async fn apply(
    migrator: &Migrator,
    grants: &str,
    connector: &Connector,
    purpose: Purpose,
) -> Result<(), DatabaseError> {
    const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1)";
    let (mut connection, access) = connector.open().await?;
    if purpose == Purpose::Use {
        // In a transaction: a pooler may execute the steps of a statement in different sessions.
        execute(&mut connection, BEGIN).await?;
        let is_current = is_current(migrator, connector, &mut connection).await?;
        execute(&mut connection, "ROLLBACK").await?;
        if is_current {
            return Ok(());
        }
    }
    let mut is_waiting = false;
    loop {
        // The lock ends with the transaction: a pooler may give the session to other clients.
        execute(&mut connection, BEGIN).await?;
        let lock = sqlx::query(TRY_LOCK).bind(MIGRATION_LOCK).persistent(false);
        let row = with_timeout(async { Ok(connection.fetch_one(lock).await?) }).await?;
        if row.try_get(0)? {
            create_table(migrator, &mut connection).await?;
            if let Some(migration) = next_of(migrator, &mut connection).await? {
                execute_and_record(migrator, migration, connector, access, &mut connection).await?;
            }
            let is_last = next_of(migrator, &mut connection).await?.is_none();
            if is_last {
                // In the same transaction: a process that waits for the migration needs its rights.
                execute(&mut connection, grants).await?;
            }
            execute(&mut connection, "COMMIT").await?;
            if is_last {
                return Ok(());
            }
            continue;
        }
        // Polling, because a session that waits for the lock holds a snapshot, and CREATE
        // INDEX CONCURRENTLY waits for all older snapshots.
        execute(&mut connection, "ROLLBACK").await?;
        if !is_waiting {
            tracing::info!("another process migrates {}; waiting", connector.target());
        }
        is_waiting = true;
        sleep(LOCK_POLL_INTERVAL).await;
    }
}

/// Whether every migration is applied. Fails if one is missing and the role may not create
/// tables.
async fn is_current(
    migrator: &Migrator,
    connector: &Connector,
    connection: &mut PgConnection,
) -> Result<bool, DatabaseError> {
    // A role that may not read the list has no rights to the tables yet.
    const STATE: &str = "SELECT coalesce(has_table_privilege(to_regclass($1), 'SELECT'), false), \
         coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
    let table = &migrator.table_name;
    let state = sqlx::query(STATE).bind(&**table).persistent(false);
    let row = with_timeout(async { Ok(connection.fetch_one(state).await?) }).await?;
    let (may_read, may_create) = (row.try_get(0)?, row.try_get(1)?);
    let next = if may_read { next_of(migrator, connection).await? } else { migrator.iter().next() };
    match next {
        None => Ok(true),
        Some(_) if may_create => Ok(false),
        Some(Migration { version, .. }) => {
            let target = connector.target();
            Err(DatabaseError::Unavailable(format!(
                "{table} of {target} lacks migration {version} or is not readable, and this role \
                 may not change tables; apply the migrations as the role that owns them"
            )))
        }
    }
}

/// Creates the list of migrations.
async fn create_table(
    migrator: &Migrator,
    connection: &mut PgConnection,
) -> Result<(), DatabaseError> {
    let table = &migrator.table_name;
    // The columns that sqlx expects. "Relation already exists" would be logged.
    let create = format!(
        "SET LOCAL client_min_messages = warning; CREATE TABLE IF NOT EXISTS {table} (\
         version bigint PRIMARY KEY, description text NOT NULL, \
         installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, \
         checksum bytea NOT NULL, execution_time bigint NOT NULL)"
    );
    execute(connection, &create).await
}

/// Returns the next migration to apply. An older replica may start while newer ones run,
/// because a newer schema serves it, too: unknown migrations are ignored.
async fn next_of<'m>(
    migrator: &'m Migrator,
    connection: &mut PgConnection,
) -> Result<Option<&'m Migration>, DatabaseError> {
    let table = &migrator.table_name;
    let list = format!("SELECT version, checksum FROM {table}");
    let list = sqlx::query(AssertSqlSafe(list)).persistent(false);
    let rows = with_timeout(async { Ok(connection.fetch_all(list).await?) }).await?;
    for migration in migrator.iter().filter(|next| !next.migration_type.is_down_migration()) {
        let mut is_applied = false;
        for row in &rows {
            if row.try_get::<i64, _>(0)? == migration.version {
                is_applied = true;
                if row.try_get::<&[u8], _>(1)? != &*migration.checksum {
                    let version = migration.version;
                    let error = format!("migration {version} was changed after it was applied");
                    return Err(DatabaseError::Internal(error));
                }
            }
        }
        if !is_applied {
            return Ok(Some(migration));
        }
    }
    Ok(None)
}

/// Executes and records a migration in the transaction of `connection`, which holds the lock.
async fn execute_and_record(
    migrator: &Migrator,
    migration: &Migration,
    connector: &Connector,
    access: Access,
    connection: &mut PgConnection,
) -> Result<(), DatabaseError> {
    let statements = sqlx::raw_sql(migration.sql.clone());
    let mut other = None;
    if migration.no_tx {
        execute(connection, KEEP_LOCK).await?;
        let (mut opened, access) = connector.open().await?;
        if access == Access::Direct {
            // The connection is closed afterwards.
            execute(&mut opened, "SET statement_timeout = 0; SET lock_timeout = 0").await?;
        }
        other = Some(opened);
    }
    let executing = other.as_mut().unwrap_or(connection).execute(statements);
    let executed = tokio::select! {
        executed = timeout(MIGRATION_TIMEOUT, executing) => executed,
        error = connector.stopped_responding(access) => return Err(error),
    };
    let version = migration.version;
    match executed {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return Err(match error.into() {
                DatabaseError::Internal(text) => {
                    DatabaseError::Internal(format!("migration {version}: {text}"))
                }
                other => other,
            });
        }
        Err(_) => {
            let hours = MIGRATION_TIMEOUT.as_secs() / 3600;
            let error = format!("migration {version} did not end within {hours} h");
            return Err(DatabaseError::ConnectionLost(error));
        }
    }
    let table = &migrator.table_name;
    let record = format!(
        "INSERT INTO {table} (version, description, success, checksum, execution_time) \
         VALUES ($1, $2, true, $3, -1)"
    );
    let record = sqlx::query(AssertSqlSafe(record))
        .bind(version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .persistent(false);
    with_timeout(async { Ok(connection.execute(record).await?) }).await?;
    tracing::info!(version, table = &**table, "migration applied");
    Ok(())
}

/// Executes statements without parameters.
async fn execute(connection: &mut PgConnection, statements: &str) -> Result<(), DatabaseError> {
    let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
    with_timeout(async { Ok(connection.execute(statements).await?) }).await?;
    Ok(())
}
