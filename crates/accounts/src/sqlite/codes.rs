//! Codes and verified addresses.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::rows::{bytes32, micros, time};
use super::{Writer, audit, outbox};
use crate::audit::Entry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::store::{IssueCode, Issued, Result, Sending};

pub(super) async fn issue(writer: &mut Writer<'_>, issue: IssueCode) -> Result<Issued> {
    let mut tx = writer.begin().await?;
    let row = sqlx::query(
        "SELECT sent_at, counted_since, count FROM codes WHERE email = ? AND purpose = ?",
    )
    .bind(issue.email.as_str())
    .bind(issue.purpose.name())
    .fetch_optional(&mut *tx)
    .await?;
    let (mut counted_since, mut count) = (issue.now, 0);
    if let Some(row) = row {
        let (sent_at, since) = (time(row.try_get(0)?)?, time(row.try_get(1)?)?);
        if sent_at > issue.cooled_since {
            return Ok(Issued::Cooling(sent_at));
        }
        if since > issue.counted_since {
            (counted_since, count) = (since, row.try_get::<u32, _>(2)?);
        }
        if count >= issue.most {
            return Ok(Issued::Exhausted(counted_since));
        }
    }
    let is_known = sqlx::query("SELECT 1 FROM accounts WHERE email = ?")
        .bind(issue.email.as_str())
        .fetch_optional(&mut *tx)
        .await?
        .is_some();
    let Sending { code, mail } = if is_known { issue.known } else { issue.unknown };
    sqlx::query(
        "INSERT INTO codes \
         (email, purpose, mac, tries, sent_at, expires_at, counted_since, count) \
         VALUES (?, ?, ?, 0, ?, ?, ?, ?) \
         ON CONFLICT (email, purpose) DO UPDATE SET mac = excluded.mac, tries = 0, \
         sent_at = excluded.sent_at, expires_at = excluded.expires_at, \
         counted_since = excluded.counted_since, count = excluded.count",
    )
    .bind(issue.email.as_str())
    .bind(issue.purpose.name())
    .bind(code.as_ref().map(<[u8; 32]>::as_slice))
    .bind(micros(issue.now))
    .bind(micros(issue.expires_at))
    .bind(micros(counted_since))
    .bind(count + 1)
    .execute(&mut *tx)
    .await?;
    if let Some(mail) = &mail {
        outbox::add(&mut tx, mail).await?;
    }
    audit::add(&mut tx, &issue.audit).await?;
    tx.commit().await?;
    Ok(Issued::Sent)
}

pub(super) async fn spend_try(
    writer: &mut SqliteConnection,
    email: &Email,
    purpose: Purpose,
    now: Timestamp,
    tries: u32,
) -> Result<Option<Mac>> {
    let row = sqlx::query(
        "UPDATE codes SET tries = tries + 1 \
         WHERE email = ? AND purpose = ? AND mac IS NOT NULL AND expires_at > ? AND tries < ? \
         RETURNING mac",
    )
    .bind(email.as_str())
    .bind(purpose.name())
    .bind(micros(now))
    .bind(tries)
    .fetch_optional(writer)
    .await?;
    row.as_ref().map(|row| bytes32(row, 0)).transpose()
}

/// Uses a code up; whether it was still there.
pub(super) async fn consume(
    tx: &mut SqliteConnection,
    email: &Email,
    purpose: Purpose,
    code: &Mac,
) -> Result<bool> {
    let used =
        sqlx::query("UPDATE codes SET mac = NULL WHERE email = ? AND purpose = ? AND mac = ?")
            .bind(email.as_str())
            .bind(purpose.name())
            .bind(code.as_slice())
            .execute(tx)
            .await?;
    Ok(used.rows_affected() > 0)
}

pub(super) async fn verify_email(
    writer: &mut Writer<'_>,
    email: &Email,
    code: &Mac,
    until: Timestamp,
    entry: Entry,
) -> Result<bool> {
    let mut tx = writer.begin().await?;
    if !consume(&mut tx, email, Purpose::Verification, code).await? {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO verified_emails (email, expires_at) VALUES (?, ?) \
         ON CONFLICT (email) DO UPDATE SET expires_at = excluded.expires_at",
    )
    .bind(email.as_str())
    .bind(micros(until))
    .execute(&mut *tx)
    .await?;
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(true)
}
