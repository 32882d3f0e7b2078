//! Engines by their URLs.

use std::sync::Arc;

use miniapp_config::{Database, Synchronous};

use crate::engine::{Engine, StoreError};
use crate::postgres::PostgresEngine;
use crate::sqlite::SqliteEngine;

/// The engine that `database.url` names. A file is opened at once; a server may come later,
/// until when the engine says that it is unavailable.
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
