//! New passwords and failed ones.

use jiff::Timestamp;
use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::rows::{micros, time};
use super::{Writer, audit, codes, outbox, sessions};
use crate::audit::Entry;
use crate::code::Purpose;
use crate::store::{FailureKey, PasswordChange, PasswordReset, Result};

pub(super) async fn change(
    writer: &mut Writer<'_>,
    change: PasswordChange,
) -> Result<Option<Vec<Uuid>>> {
    let mut tx = writer.begin().await?;
    let changed = sqlx::query("UPDATE accounts SET password = ? WHERE id = ? AND password = ?")
        .bind(change.new.as_str())
        .bind(change.account)
        .bind(change.old.as_str())
        .execute(&mut *tx)
        .await?;
    if changed.rows_affected() == 0 {
        return Ok(None);
    }
    let ended = sessions::end_all(&mut tx, change.account, Some(change.keep), change.now).await?;
    outbox::add(&mut tx, &change.notice).await?;
    audit::add(&mut tx, &change.audit).await?;
    tx.commit().await?;
    Ok(Some(ended))
}

pub(super) async fn reset(
    writer: &mut Writer<'_>,
    reset: PasswordReset,
) -> Result<Option<Vec<Uuid>>> {
    let mut tx = writer.begin().await?;
    if !codes::consume(&mut tx, &reset.email, Purpose::Reset, &reset.code).await? {
        return Ok(None);
    }
    let row = sqlx::query("UPDATE accounts SET password = ? WHERE email = ? RETURNING id")
        .bind(reset.new.as_str())
        .bind(reset.email.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let ended = sessions::end_all(&mut tx, row.try_get(0)?, None, reset.now).await?;
    outbox::add(&mut tx, &reset.notice).await?;
    audit::add(&mut tx, &reset.audit).await?;
    tx.commit().await?;
    Ok(Some(ended))
}

pub(super) async fn failures(
    readers: &SqlitePool,
    key: &FailureKey,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Timestamp>> {
    let rows = sqlx::query(
        "SELECT at FROM sign_in_failures WHERE key = ? AND at > ? ORDER BY at DESC LIMIT ?",
    )
    .bind(key.as_slice())
    .bind(micros(since))
    .bind(limit)
    .fetch_all(readers)
    .await?;
    rows.iter().map(|row| time(row.try_get(0)?)).collect()
}

pub(super) async fn note_failure(
    writer: &mut Writer<'_>,
    key: &FailureKey,
    entry: Entry,
) -> Result<()> {
    let mut tx = writer.begin().await?;
    sqlx::query("INSERT INTO sign_in_failures (key, at) VALUES (?, ?)")
        .bind(key.as_slice())
        .bind(micros(entry.at))
        .execute(&mut *tx)
        .await?;
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(())
}

pub(super) async fn forget_failures(tx: &mut SqliteConnection, key: &FailureKey) -> Result<()> {
    sqlx::query("DELETE FROM sign_in_failures WHERE key = ?")
        .bind(key.as_slice())
        .execute(tx)
        .await?;
    Ok(())
}
