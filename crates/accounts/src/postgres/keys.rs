//! Signing keys.

use miniapp_postgres::Database;
use sqlx::Row as _;

use super::rows::{bytes32, micros, time};
use crate::keys::SealedKey;
use crate::store::Result;

pub(super) async fn all(database: &Database) -> Result<Vec<SealedKey>> {
    const ALL: &str = "SELECT kid, follows, public, sealed, signs_from FROM signing_keys";
    let rows = database.fetch_all(|| sqlx::query(ALL)).await?;
    rows.iter()
        .map(|row| {
            Ok(SealedKey {
                kid: row.try_get(0)?,
                follows: row.try_get(1)?,
                public: bytes32(row, 2)?,
                sealed: row.try_get(3)?,
                signs_from: time(row.try_get(4)?)?,
            })
        })
        .collect()
}

pub(super) async fn add(database: &Database, key: &SealedKey) -> Result<bool> {
    const ADD: &str = "INSERT INTO signing_keys (kid, follows, public, sealed, signs_from) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (follows) DO NOTHING RETURNING kid";
    let statement = || {
        sqlx::query(ADD)
            .bind(&key.kid)
            .bind(&key.follows)
            .bind(key.public.as_slice())
            .bind(&key.sealed)
            .bind(micros(key.signs_from))
    };
    Ok(database.fetch_optional(statement).await?.is_some())
}

pub(super) async fn remove(database: &Database, kid: &str) -> Result<()> {
    const REMOVE: &str = "DELETE FROM signing_keys WHERE kid = $1";
    database.fetch_all(|| sqlx::query(REMOVE).bind(kid)).await?;
    Ok(())
}
