//! The audit log, and removing what is too old.

use miniapp_postgres::Database;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

use super::rows::{micros, time};
use super::transact::{Outcome, Work};
use crate::audit::Entry;
use crate::store::{Outdated, Result};

pub(super) async fn add(tx: &mut PgConnection, entry: &Entry) -> Work<()> {
    sqlx::query(
        "INSERT INTO audit (id, at, action, outcome, account, login, ip) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
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

/// An entry by itself.
pub(super) async fn note(tx: &mut PgConnection, entry: &Entry) -> Work<Outcome<()>> {
    Ok(Outcome::Keep(add(tx, entry).await?))
}

pub(super) async fn list(
    database: &Database,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Entry>> {
    const PAGE: &str = "SELECT id, at, action, outcome, account, login, ip FROM audit \
         WHERE id < $1 ORDER BY id DESC LIMIT $2";
    let before = before.unwrap_or(Uuid::max());
    let rows = database.fetch_all(|| sqlx::query(PAGE).bind(before).bind(i64::from(limit))).await?;
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

/// Each kind by itself: nothing that goes has to go together.
pub(super) async fn purge(database: &Database, outdated: Outdated) -> Result<u64> {
    let old = [
        // A code's row is also its address's count.
        ("codes WHERE greatest(counted_since, expires_at) <= $1", outdated.codes_before),
        ("verified_emails WHERE expires_at <= $1", outdated.now),
        ("sessions WHERE expires_at <= $1", outdated.now),
        ("spent_tokens WHERE expires_at <= $1", outdated.now),
        ("duties WHERE remembered_until <= $1", outdated.now),
        ("sign_in_failures WHERE at <= $1", outdated.failures_before),
        ("audit WHERE at <= $1", outdated.audit_before),
        ("inbox WHERE at <= $1", outdated.mails_before),
    ];
    let mut count = 0;
    for (what, before) in old {
        let text =
            format!("WITH gone AS (DELETE FROM {what} RETURNING 1) SELECT count(*) FROM gone");
        let statement = || sqlx::query(AssertSqlSafe(text.as_str())).bind(micros(before));
        let row = database.fetch_optional(statement).await?;
        let gone: i64 = row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        count += u64::try_from(gone).unwrap_or(0);
    }
    Ok(count)
}
