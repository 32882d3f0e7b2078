//! Chooses the storage engine by the scheme of the database URL.

use std::sync::Arc;

use miniapp_config::{Database, Synchronous};

use crate::engine::{Engine, StoreError};
use crate::postgres::PostgresEngine;
use crate::sqlite::SqliteEngine;

/// Opens the engine for `database.url`.
///
/// A SQLite file is opened immediately. A PostgreSQL server may be unreachable at first: the
/// engine reports [`StoreError::Unavailable`] until it answers.
pub async fn open_engine(database: &Database) -> Result<Arc<dyn Engine>, StoreError> {
    match database.url.scheme() {
        "sqlite" => {
            let fsync = database.synchronous == Synchronous::Full;
            Ok(Arc::new(SqliteEngine::open(database.url.expose(), fsync).await?))
        }
        "postgres" | "postgresql" => Ok(Arc::new(PostgresEngine::new(database)?)),
        other => Err(StoreError::Internal(format!("there is no store for {other}://"))),
    }
}
