//! Sessions.

use jiff::Timestamp;
use miniapp_types::account::Account;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::rows::{self, account_columns, micros, session_columns};
use super::{Writer, audit, passwords};
use crate::audit::Entry;
use crate::password::Hash;
use crate::service::FIRST_EPOCH;
use crate::session::{NewSession, RefreshHash, Rotation, Session};
use crate::store::{FailureKey, Result};

pub(super) async fn open(
    writer: &mut Writer<'_>,
    new: NewSession,
    password: &Hash,
    failures: &FailureKey,
    entry: Entry,
) -> Result<Option<Vec<Uuid>>> {
    let mut tx = writer.begin().await?;
    let opened = sqlx::query(
        "INSERT INTO sessions \
         (id, account, refresh, epoch, created_at, last_used_at, expires_at, ip, user_agent) \
         SELECT ?, id, ?, ?, ?, ?, ?, ?, ? FROM accounts WHERE id = ? AND password = ?",
    )
    .bind(new.id)
    .bind(new.refresh.0.as_slice())
    .bind(FIRST_EPOCH)
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
        return Ok(None);
    }
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = ? WHERE id IN (\
           SELECT id FROM sessions WHERE account = ? AND ended_at IS NULL AND expires_at > ? \
           ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?) \
         RETURNING id",
    )
    .bind(micros(new.now))
    .bind(new.account)
    .bind(micros(new.now))
    .bind(new.most)
    .fetch_all(&mut *tx)
    .await?;
    passwords::forget_failures(&mut tx, failures).await?;
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    ids(&ended).map(Some)
}

pub(super) async fn rotate(
    writer: &mut Writer<'_>,
    used: &RefreshHash,
    next: &RefreshHash,
    now: Timestamp,
    expires_at: Timestamp,
    entry: Entry,
) -> Result<Rotation> {
    let mut tx = writer.begin().await?;
    let query = concat!(
        "UPDATE sessions SET refresh = ?, epoch = epoch + 1, last_used_at = ?, expires_at = ? \
         WHERE refresh = ? AND ended_at IS NULL AND expires_at > ? RETURNING ",
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
        let rotation = refuse(&mut tx, used, now).await?;
        tx.commit().await?;
        return Ok(rotation);
    };
    let session = rows::session(&row, 0)?;
    // It ends with its account, in one transaction.
    let Some(account) = rows::load_account(&mut tx, session.account).await? else {
        return Ok(Rotation::Ended);
    };
    sqlx::query("INSERT INTO spent_tokens (refresh, session, expires_at) VALUES (?, ?, ?)")
        .bind(used.0.as_slice())
        .bind(session.id)
        .bind(micros(expires_at))
        .execute(&mut *tx)
        .await?;
    audit::add(&mut tx, &entry.about(&account)).await?;
    tx.commit().await?;
    Ok(Rotation::Rotated { session: session.into(), account: account.into() })
}

/// Why a refresh token isn't good; one that was used before ends its session.
async fn refuse(tx: &mut SqliteConnection, used: &RefreshHash, now: Timestamp) -> Result<Rotation> {
    let spent = sqlx::query("SELECT session FROM spent_tokens WHERE refresh = ?")
        .bind(used.0.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(spent) = spent {
        let session: Uuid = spent.try_get(0)?;
        let ended =
            sqlx::query("UPDATE sessions SET ended_at = ? WHERE id = ? AND ended_at IS NULL")
                .bind(micros(now))
                .bind(session)
                .execute(&mut *tx)
                .await?;
        return Ok(Rotation::Reused { session, ended: ended.rows_affected() > 0 });
    }
    let session = sqlx::query("SELECT ended_at FROM sessions WHERE refresh = ?")
        .bind(used.0.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    Ok(match session.map(|row| row.try_get::<Option<i64>, _>(0)).transpose()? {
        None => Rotation::Unknown,
        Some(Some(_)) => Rotation::Ended,
        Some(None) => Rotation::Expired,
    })
}

pub(super) async fn living(readers: &SqlitePool, id: Uuid) -> Result<Option<(Session, Account)>> {
    let query = concat!(
        "SELECT ",
        account_columns!(),
        ", ",
        session_columns!(),
        " FROM sessions JOIN accounts ON accounts.id = sessions.account \
         WHERE sessions.id = ? AND ended_at IS NULL"
    );
    let row = sqlx::query(query).bind(id).fetch_optional(readers).await?;
    row.map(|row| Ok((rows::session(&row, rows::ACCOUNT_WIDTH)?, rows::account(&row, 0)?)))
        .transpose()
}

pub(super) async fn of_account(readers: &SqlitePool, account: Uuid) -> Result<Vec<Session>> {
    let query = concat!(
        "SELECT ",
        session_columns!(),
        " FROM sessions WHERE account = ? ORDER BY created_at DESC, id DESC"
    );
    let found = sqlx::query(query).bind(account).fetch_all(readers).await?;
    found.iter().map(|row| rows::session(row, 0)).collect()
}

pub(super) async fn end(
    writer: &mut Writer<'_>,
    account: Uuid,
    id: Uuid,
    now: Timestamp,
    entry: Entry,
) -> Result<bool> {
    let mut tx = writer.begin().await?;
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = ? \
         WHERE id = ? AND account = ? AND ended_at IS NULL AND expires_at > ?",
    )
    .bind(micros(now))
    .bind(id)
    .bind(account)
    .bind(micros(now))
    .execute(&mut *tx)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends all sessions of an account, or all but one.
pub(super) async fn end_all(
    tx: &mut SqliteConnection,
    account: Uuid,
    keep: Option<Uuid>,
    now: Timestamp,
) -> Result<Vec<Uuid>> {
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = ? \
         WHERE account = ? AND id IS NOT ? AND ended_at IS NULL RETURNING id",
    )
    .bind(micros(now))
    .bind(account)
    .bind(keep)
    .fetch_all(tx)
    .await?;
    ids(&ended)
}

fn ids(rows: &[SqliteRow]) -> Result<Vec<Uuid>> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Removes sessions and used tokens whose time is over.
pub(super) async fn purge(tx: &mut SqliteConnection, now: Timestamp) -> Result<u64> {
    let mut count = 0;
    for query in [
        "DELETE FROM sessions WHERE expires_at <= ?",
        "DELETE FROM spent_tokens WHERE expires_at <= ?",
    ] {
        count += sqlx::query(query).bind(micros(now)).execute(&mut *tx).await?.rows_affected();
    }
    Ok(count)
}
