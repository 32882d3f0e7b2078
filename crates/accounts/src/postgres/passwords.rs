//! New passwords and failed ones.

use jiff::Timestamp;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::rows::{micros, time};
use super::transact::{Outcome, Work};
use super::{audit, codes, outbox, sessions};
use crate::audit::Entry;
use crate::code::Purpose;
use crate::store::{FailureKey, PasswordChange, PasswordReset, Result};
use miniapp_postgres::Database;

pub(super) async fn change(
    tx: &mut PgConnection,
    change: &PasswordChange,
) -> Work<Outcome<Option<Vec<Uuid>>>> {
    let changed = sqlx::query("UPDATE accounts SET password = $1 WHERE id = $2 AND password = $3")
        .bind(change.new.as_str())
        .bind(change.account)
        .bind(change.old.as_str())
        .execute(&mut *tx)
        .await?;
    if changed.rows_affected() == 0 {
        return Ok(Outcome::Undo(None));
    }
    let ended = sessions::end_all(tx, change.account, Some(change.keep), change.now).await?;
    outbox::add(tx, &change.notice).await?;
    audit::add(tx, &change.audit).await?;
    Ok(Outcome::Keep(Some(ended)))
}

pub(super) async fn reset(
    tx: &mut PgConnection,
    reset: &PasswordReset,
) -> Work<Outcome<Option<Vec<Uuid>>>> {
    if !codes::consume(tx, &reset.email, Purpose::Reset, &reset.code).await? {
        return Ok(Outcome::Undo(None));
    }
    let row = sqlx::query("UPDATE accounts SET password = $1 WHERE email = $2 RETURNING id")
        .bind(reset.new.as_str())
        .bind(reset.email.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(Outcome::Undo(None)) };
    let ended = sessions::end_all(tx, row.try_get(0)?, None, reset.now).await?;
    outbox::add(tx, &reset.notice).await?;
    audit::add(tx, &reset.audit).await?;
    Ok(Outcome::Keep(Some(ended)))
}

pub(super) async fn failures(
    database: &Database,
    key: &FailureKey,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Timestamp>> {
    const LATEST: &str = "SELECT at FROM sign_in_failures WHERE key = $1 AND at > $2 \
         ORDER BY at DESC LIMIT $3";
    let statement = || {
        let statement = sqlx::query(LATEST).bind(key.as_slice());
        statement.bind(micros(since)).bind(i64::from(limit))
    };
    let rows = database.fetch_all(statement).await?;
    rows.iter().map(|row| time(row.try_get(0)?)).collect()
}

pub(super) async fn note_failure(
    tx: &mut PgConnection,
    key: &FailureKey,
    entry: &Entry,
) -> Work<Outcome<()>> {
    sqlx::query("INSERT INTO sign_in_failures (key, at) VALUES ($1, $2)")
        .bind(key.as_slice())
        .bind(micros(entry.at))
        .execute(&mut *tx)
        .await?;
    audit::add(tx, entry).await?;
    Ok(Outcome::Keep(()))
}

pub(super) async fn forget_failures(tx: &mut PgConnection, key: &FailureKey) -> Work<()> {
    sqlx::query("DELETE FROM sign_in_failures WHERE key = $1")
        .bind(key.as_slice())
        .execute(tx)
        .await?;
    Ok(())
}
