//! Codes and verified addresses.

use jiff::Timestamp;
use sqlx::{PgConnection, Row as _};

use super::rows::{bytes32, count, micros, small, time};
use super::transact::{Outcome, Work};
use super::{audit, outbox};
use crate::audit::Entry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::store::{IssueCode, Issued, Result, Sending};
use miniapp_postgres::Database;

pub(super) async fn issue(tx: &mut PgConnection, issue: &IssueCode) -> Work<Outcome<Issued>> {
    let row = sqlx::query(
        "SELECT sent_at, counted_since, count FROM codes WHERE email = $1 AND purpose = $2",
    )
    .bind(issue.email.as_str())
    .bind(issue.purpose.name())
    .fetch_optional(&mut *tx)
    .await?;
    let (mut counted_since, mut sent) = (issue.now, 0);
    if let Some(row) = row {
        let (sent_at, since) = (time(row.try_get(0)?)?, time(row.try_get(1)?)?);
        if sent_at > issue.cooled_since {
            return Ok(Outcome::Keep(Issued::Cooling(sent_at)));
        }
        if since > issue.counted_since {
            (counted_since, sent) = (since, count(&row, 2)?);
        }
        if sent >= issue.most {
            return Ok(Outcome::Keep(Issued::Exhausted(counted_since)));
        }
    }
    let is_known = sqlx::query("SELECT 1 FROM accounts WHERE email = $1")
        .bind(issue.email.as_str())
        .fetch_optional(&mut *tx)
        .await?
        .is_some();
    let Sending { code, mail } = if is_known { &issue.known } else { &issue.unknown };
    sqlx::query(
        "INSERT INTO codes \
         (email, purpose, mac, tries, sent_at, expires_at, counted_since, count) \
         VALUES ($1, $2, $3, 0, $4, $5, $6, $7) \
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
    .bind(small(sent + 1))
    .execute(&mut *tx)
    .await?;
    if let Some(mail) = mail {
        outbox::add(tx, mail).await?;
    }
    audit::add(tx, &issue.audit).await?;
    Ok(Outcome::Keep(Issued::Sent))
}

pub(super) async fn spend_try(
    database: &Database,
    email: &Email,
    purpose: Purpose,
    now: Timestamp,
    tries: u32,
) -> Result<Option<Mac>> {
    const SPEND: &str = "UPDATE codes SET tries = tries + 1 \
         WHERE email = $1 AND purpose = $2 AND mac IS NOT NULL AND expires_at > $3 AND tries < $4 \
         RETURNING mac";
    let statement = || {
        sqlx::query(SPEND)
            .bind(email.as_str())
            .bind(purpose.name())
            .bind(micros(now))
            .bind(small(tries))
    };
    let row = database.fetch_optional(statement).await?;
    row.as_ref().map(|row| bytes32(row, 0)).transpose()
}

/// Uses a code up; whether it was still there.
pub(super) async fn consume(
    tx: &mut PgConnection,
    email: &Email,
    purpose: Purpose,
    code: &Mac,
) -> Work<bool> {
    let used =
        sqlx::query("UPDATE codes SET mac = NULL WHERE email = $1 AND purpose = $2 AND mac = $3")
            .bind(email.as_str())
            .bind(purpose.name())
            .bind(code.as_slice())
            .execute(tx)
            .await?;
    Ok(used.rows_affected() > 0)
}

pub(super) async fn verify_email(
    tx: &mut PgConnection,
    email: &Email,
    code: &Mac,
    until: Timestamp,
    entry: &Entry,
) -> Work<Outcome<bool>> {
    if !consume(tx, email, Purpose::Verification, code).await? {
        return Ok(Outcome::Keep(false));
    }
    sqlx::query(
        "INSERT INTO verified_emails (email, expires_at) VALUES ($1, $2) \
         ON CONFLICT (email) DO UPDATE SET expires_at = excluded.expires_at",
    )
    .bind(email.as_str())
    .bind(micros(until))
    .execute(&mut *tx)
    .await?;
    audit::add(tx, entry).await?;
    Ok(Outcome::Keep(true))
}
