//! The tables of a store, and the check that a file has them.

use std::collections::HashMap;

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::DatabaseError;

/// The migrations of a store. Several stores can share a file.
#[derive(Debug)]
pub struct Schema {
    table: &'static str,
    migrations: Migrator,
}

/// How the tables in a file relate to those that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compatibility {
    /// The same or older: migrations can be applied.
    Known,
    /// The file has no tables of the store.
    Missing,
    /// A newer program has added this migration.
    Newer(i64),
    /// This migration has the same number and another text.
    Different(i64),
}

impl Schema {
    /// `table` lists the `migrations` that were applied.
    pub fn new(table: &'static str, mut migrations: Migrator) -> Self {
        migrations.dangerous_set_table_name(table);
        // The previous release can be started again after an upgrade.
        migrations.set_ignore_missing(true);
        Self { table, migrations }
    }

    pub(crate) fn table(&self) -> &'static str {
        self.table
    }

    pub(crate) fn migrations(&self) -> &Migrator {
        &self.migrations
    }

    pub(crate) async fn compare(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Compatibility, DatabaseError> {
        const EXISTS: &str =
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1";
        let exists = sqlx::query_scalar::<_, i64>(EXISTS).bind(self.table);
        if exists.fetch_one(&mut *connection).await? == 0 {
            return Ok(Compatibility::Missing);
        }
        let known: HashMap<i64, &[u8]> =
            self.migrations.iter().map(|it| (it.version, &*it.checksum)).collect();
        let applied = format!("SELECT version, checksum FROM {} ORDER BY version", self.table);
        let rows = sqlx::query(AssertSqlSafe(applied)).fetch_all(connection).await?;
        for row in rows {
            let (version, checksum) = (row.try_get(0)?, row.try_get::<Vec<u8>, _>(1)?);
            match known.get(&version) {
                None => return Ok(Compatibility::Newer(version)),
                Some(known) if **known != *checksum => {
                    return Ok(Compatibility::Different(version));
                }
                Some(_) => {}
            }
        }
        Ok(Compatibility::Known)
    }
}
