//! Sessions.

use jiff::Timestamp;
use miniapp_types::account::Account;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::rows::{self, account_columns, micros, session_columns, small};
use super::transact::{Outcome, Work};
use super::{audit, passwords};
use crate::audit::Entry;
use crate::password::Hash;
use crate::service::FIRST_EPOCH;
use crate::session::{NewSession, RefreshHash, Rotation, Session};
use crate::store::{FailureKey, Result};
use miniapp_postgres::Database;

pub(super) async fn open(
    tx: &mut PgConnection,
    new: &NewSession,
    password: &Hash,
    failures: &FailureKey,
    entry: &Entry,
) -> Work<Outcome<Option<Vec<Uuid>>>> {
    let opened = sqlx::query(
        "INSERT INTO sessions \
         (id, account, refresh, epoch, created_at, last_used_at, expires_at, ip, user_agent) \
         SELECT $1, id, $2, $3, $4, $5, $6, $7, $8 FROM accounts WHERE id = $9 AND password = $10",
    )
    .bind(new.id)
    .bind(new.refresh.0.as_slice())
    .bind(small(FIRST_EPOCH))
    .bind(micros(new.now))
    .bind(micros(new.now))
    .bind(micros(new.expires_at))
    .bind(new.caller.ip.map(|ip| ip.to_string()))
    .bind(&new.caller.user_agent)
    .bind(new.account)
    .bind(password.as_str())
    .execute(&mut *tx)
    .await?;
    if opened.rows_affected() == 0 {
        return Ok(Outcome::Undo(None));
    }
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = $1 WHERE id IN (\
           SELECT id FROM sessions WHERE account = $2 AND ended_at IS NULL AND expires_at > $3 \
           ORDER BY created_at DESC, id DESC OFFSET $4) \
         RETURNING id",
    )
    .bind(micros(new.now))
    .bind(new.account)
    .bind(micros(new.now))
    .bind(i64::from(new.most))
    .fetch_all(&mut *tx)
    .await?;
    passwords::forget_failures(tx, failures).await?;
    audit::add(tx, entry).await?;
    Ok(Outcome::Keep(Some(ids(&ended)?)))
}

pub(super) async fn rotate(
    tx: &mut PgConnection,
    used: &RefreshHash,
    next: &RefreshHash,
    now: Timestamp,
    expires_at: Timestamp,
    entry: &Entry,
) -> Work<Outcome<Rotation>> {
    let query = concat!(
        "UPDATE sessions SET refresh = $1, epoch = epoch + 1, last_used_at = $2, expires_at = $3 \
         WHERE refresh = $4 AND ended_at IS NULL AND expires_at > $5 RETURNING ",
        session_columns!()
    );
    let row = sqlx::query(query)
        .bind(next.0.as_slice())
        .bind(micros(now))
        .bind(micros(expires_at))
        .bind(used.0.as_slice())
        .bind(micros(now))
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else {
        return Ok(Outcome::Keep(refuse(tx, used, now).await?));
    };
    let session = rows::session(&row, 0)?;
    // It ends with its account, in one transaction.
    let Some(account) = rows::load_account(tx, session.account).await? else {
        return Ok(Outcome::Undo(Rotation::Ended));
    };
    sqlx::query("INSERT INTO spent_tokens (refresh, session, expires_at) VALUES ($1, $2, $3)")
        .bind(used.0.as_slice())
        .bind(session.id)
        .bind(micros(expires_at))
        .execute(&mut *tx)
        .await?;
    audit::add(tx, &entry.clone().about(&account)).await?;
    Ok(Outcome::Keep(Rotation::Rotated { session: session.into(), account: account.into() }))
}

/// Why a refresh token isn't good; one that was used before ends its session.
async fn refuse(tx: &mut PgConnection, used: &RefreshHash, now: Timestamp) -> Work<Rotation> {
    let spent = sqlx::query("SELECT session FROM spent_tokens WHERE refresh = $1")
        .bind(used.0.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(spent) = spent {
        let session: Uuid = spent.try_get(0)?;
        let ended =
            sqlx::query("UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL")
                .bind(micros(now))
                .bind(session)
                .execute(&mut *tx)
                .await?;
        return Ok(Rotation::Reused { session, ended: ended.rows_affected() > 0 });
    }
    let session = sqlx::query("SELECT ended_at FROM sessions WHERE refresh = $1")
        .bind(used.0.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    Ok(match session.map(|row| row.try_get::<Option<i64>, _>(0)).transpose()? {
        None => Rotation::Unknown,
        Some(Some(_)) => Rotation::Ended,
        Some(None) => Rotation::Expired,
    })
}

pub(super) async fn living(database: &Database, id: Uuid) -> Result<Option<(Session, Account)>> {
    let query = concat!(
        "SELECT ",
        account_columns!(),
        ", ",
        session_columns!(),
        " FROM sessions JOIN accounts ON accounts.id = sessions.account \
         WHERE sessions.id = $1 AND ended_at IS NULL"
    );
    let row = database.fetch_optional(|| sqlx::query(query).bind(id)).await?;
    row.map(|row| Ok((rows::session(&row, rows::ACCOUNT_WIDTH)?, rows::account(&row, 0)?)))
        .transpose()
}

pub(super) async fn of_account(database: &Database, account: Uuid) -> Result<Vec<Session>> {
    let query = concat!(
        "SELECT ",
        session_columns!(),
        " FROM sessions WHERE account = $1 ORDER BY created_at DESC, id DESC"
    );
    let found = database.fetch_all(|| sqlx::query(query).bind(account)).await?;
    found.iter().map(|row| rows::session(row, 0)).collect()
}

pub(super) async fn end(
    tx: &mut PgConnection,
    account: Uuid,
    id: Uuid,
    now: Timestamp,
    entry: &Entry,
) -> Work<Outcome<bool>> {
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = $1 \
         WHERE id = $2 AND account = $3 AND ended_at IS NULL AND expires_at > $4",
    )
    .bind(micros(now))
    .bind(id)
    .bind(account)
    .bind(micros(now))
    .execute(&mut *tx)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(Outcome::Undo(false));
    }
    audit::add(tx, entry).await?;
    Ok(Outcome::Keep(true))
}

/// Ends all sessions of an account, or all but one.
pub(super) async fn end_all(
    tx: &mut PgConnection,
    account: Uuid,
    keep: Option<Uuid>,
    now: Timestamp,
) -> Work<Vec<Uuid>> {
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = $1 \
         WHERE account = $2 AND id IS DISTINCT FROM $3 AND ended_at IS NULL RETURNING id",
    )
    .bind(micros(now))
    .bind(account)
    .bind(keep)
    .fetch_all(tx)
    .await?;
    Ok(ids(&ended)?)
}

fn ids(rows: &[PgRow]) -> Result<Vec<Uuid>> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
