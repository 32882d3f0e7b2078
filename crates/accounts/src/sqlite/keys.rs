//! Signing keys.

use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqliteConnection};

use super::rows::{bytes32, micros, time};
use crate::keys::SealedKey;
use crate::store::Result;

pub(super) async fn all(readers: &SqlitePool) -> Result<Vec<SealedKey>> {
    let rows = sqlx::query("SELECT kid, follows, public, sealed, signs_from FROM signing_keys")
        .fetch_all(readers)
        .await?;
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

pub(super) async fn add(writer: &mut SqliteConnection, key: &SealedKey) -> Result<bool> {
    let added = sqlx::query(
        "INSERT INTO signing_keys (kid, follows, public, sealed, signs_from) \
         VALUES (?, ?, ?, ?, ?) ON CONFLICT (follows) DO NOTHING",
    )
    .bind(&key.kid)
    .bind(&key.follows)
    .bind(key.public.as_slice())
    .bind(&key.sealed)
    .bind(micros(key.signs_from))
    .execute(writer)
    .await?;
    Ok(added.rows_affected() > 0)
}

pub(super) async fn remove(writer: &mut SqliteConnection, kid: &str) -> Result<()> {
    sqlx::query("DELETE FROM signing_keys WHERE kid = ?").bind(kid).execute(writer).await?;
    Ok(())
}
