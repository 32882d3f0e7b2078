//! The audit log, and removing what is too old.

use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::rows::{micros, time};
use super::{Writer, sessions};
use crate::audit::Entry;
use crate::store::{Outdated, Result};

pub(super) async fn add(tx: &mut SqliteConnection, entry: &Entry) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit (id, at, action, outcome, account, login, ip) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(entry.id)
    .bind(micros(entry.at))
    .bind(&entry.action)
    .bind(&entry.outcome)
    .bind(entry.account)
    .bind(&entry.login)
    .bind(&entry.ip)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn list(
    readers: &SqlitePool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Entry>> {
    let rows = sqlx::query(
        "SELECT id, at, action, outcome, account, login, ip FROM audit \
         WHERE id < ? ORDER BY id DESC LIMIT ?",
    )
    .bind(before.unwrap_or(Uuid::max()))
    .bind(limit)
    .fetch_all(readers)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Entry {
                id: row.try_get(0)?,
                at: time(row.try_get(1)?)?,
                action: row.try_get(2)?,
                outcome: row.try_get(3)?,
                account: row.try_get(4)?,
                login: row.try_get(5)?,
                ip: row.try_get(6)?,
            })
        })
        .collect()
}

pub(super) async fn purge(writer: &mut Writer<'_>, outdated: Outdated) -> Result<u64> {
    let old = [
        // A code's row is also its address's count.
        ("DELETE FROM codes WHERE max(counted_since, expires_at) <= ?", outdated.codes_before),
        ("DELETE FROM verified_emails WHERE expires_at <= ?", outdated.now),
        ("DELETE FROM duties WHERE remembered_until <= ?", outdated.now),
        ("DELETE FROM sign_in_failures WHERE at <= ?", outdated.failures_before),
        ("DELETE FROM audit WHERE at <= ?", outdated.audit_before),
        ("DELETE FROM inbox WHERE at <= ?", outdated.mails_before),
    ];
    let mut tx = writer.begin().await?;
    let mut count = sessions::purge(&mut tx, outdated.now).await?;
    for (query, before) in old {
        let removed = sqlx::query(query).bind(micros(before)).execute(&mut *tx).await?;
        count += removed.rows_affected();
    }
    tx.commit().await?;
    Ok(count)
}
