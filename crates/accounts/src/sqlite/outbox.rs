//! The outbox, and mail that stays here.

use jiff::Timestamp;
use miniapp_runtime::clock::time_of;
use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::rows::{broken, micros, time, trace};
use crate::mail::{InboxMail, Mail};
use crate::outbox::{OutboxBacklog, OutboxKind, OutboxRow};
use crate::store::Result;

pub(super) async fn add(tx: &mut SqliteConnection, message: &OutboxRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO duties \
         (id, kind, payload, traceparent, tracestate, baggage, due_at, not_after, attempts) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(message.id)
    .bind(message.kind.name())
    .bind(&message.payload)
    .bind(message.trace.traceparent.as_deref())
    .bind(message.trace.tracestate.as_deref())
    .bind(message.trace.baggage.as_deref())
    .bind(micros(message.due_at))
    .bind(message.not_after.map(micros))
    .bind(message.attempts)
    .execute(tx)
    .await?;
    Ok(())
}

/// Asked before the lock for writing is taken: mostly nothing is due.
pub(super) async fn any_due(readers: &SqlitePool, now: Timestamp) -> Result<bool> {
    let row = sqlx::query("SELECT 1 FROM duties WHERE due_at <= ? LIMIT 1")
        .bind(micros(now))
        .fetch_optional(readers)
        .await?;
    Ok(row.is_some())
}

pub(super) async fn backlog(readers: &SqlitePool) -> Result<Vec<OutboxBacklog>> {
    // An id begins with the time of its message.
    let rows = sqlx::query(
        "SELECT kind, count(*), min(id) FROM duties WHERE due_at IS NOT NULL GROUP BY kind",
    )
    .fetch_all(readers)
    .await?;
    rows.iter()
        .map(|row| {
            let kind = row.try_get::<&str, _>(0)?.parse().map_err(broken)?;
            let count = row.try_get::<i64, _>(1)?.cast_unsigned();
            Ok(OutboxBacklog { kind, count, since: time_of(row.try_get(2)?).unwrap_or_default() })
        })
        .collect()
}

pub(super) async fn claim(
    writer: &mut SqliteConnection,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<OutboxRow>> {
    let rows = sqlx::query(
        "UPDATE duties SET due_at = ?, attempts = attempts + 1 WHERE id IN (\
           SELECT id FROM duties WHERE due_at <= ? ORDER BY due_at LIMIT ?) \
         RETURNING id, kind, payload, traceparent, tracestate, baggage, due_at, not_after, \
         attempts - 1",
    )
    .bind(micros(until))
    .bind(micros(now))
    .bind(limit)
    .fetch_all(writer)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(OutboxRow {
                id: row.try_get(0)?,
                kind: row.try_get::<&str, _>(1)?.parse().map_err(broken)?,
                payload: row.try_get(2)?,
                trace: trace(row, 3)?,
                due_at: time(row.try_get(6)?)?,
                not_after: row.try_get::<Option<i64>, _>(7)?.map(time).transpose()?,
                attempts: row.try_get(8)?,
            })
        })
        .collect()
}

pub(super) async fn finish(
    writer: &mut SqliteConnection,
    id: Uuid,
    remembered_until: Option<Timestamp>,
) -> Result<()> {
    match remembered_until {
        Some(end) => {
            sqlx::query("UPDATE duties SET due_at = NULL, remembered_until = ? WHERE id = ?")
                .bind(micros(end))
                .bind(id)
                .execute(writer)
                .await?
        }
        None => sqlx::query("DELETE FROM duties WHERE id = ?").bind(id).execute(writer).await?,
    };
    Ok(())
}

pub(super) async fn postpone(
    writer: &mut SqliteConnection,
    id: Uuid,
    due_at: Timestamp,
) -> Result<()> {
    sqlx::query("UPDATE duties SET due_at = ? WHERE id = ?")
        .bind(micros(due_at))
        .bind(id)
        .execute(writer)
        .await?;
    Ok(())
}

pub(super) async fn reopen(
    writer: &mut SqliteConnection,
    kind: OutboxKind,
    due_at: Timestamp,
) -> Result<u64> {
    let reopened = sqlx::query(
        "UPDATE duties SET due_at = ?, remembered_until = NULL, attempts = 0 \
         WHERE kind = ? AND remembered_until IS NOT NULL",
    )
    .bind(micros(due_at))
    .bind(kind.name())
    .execute(writer)
    .await?;
    Ok(reopened.rows_affected())
}

pub(super) async fn add_inbox_mail(
    writer: &mut SqliteConnection,
    kept: &InboxMail,
) -> Result<bool> {
    let InboxMail { at, mail } = kept;
    let added = sqlx::query(
        "INSERT INTO inbox (id, at, address, subject, text, html) VALUES (?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(mail.id)
    .bind(micros(*at))
    .bind(&mail.to)
    .bind(&mail.subject)
    .bind(&mail.text)
    .bind(&mail.html)
    .execute(writer)
    .await?;
    Ok(added.rows_affected() > 0)
}

pub(super) async fn inbox_mails(readers: &SqlitePool, limit: u32) -> Result<Vec<InboxMail>> {
    let rows = sqlx::query(
        "SELECT at, id, address, subject, text, html FROM inbox ORDER BY id DESC LIMIT ?",
    )
    .bind(limit)
    .fetch_all(readers)
    .await?;
    rows.iter()
        .map(|row| {
            let mail = Mail {
                id: row.try_get(1)?,
                to: row.try_get(2)?,
                subject: row.try_get(3)?,
                text: row.try_get(4)?,
                html: row.try_get(5)?,
            };
            Ok(InboxMail { at: time(row.try_get(0)?)?, mail })
        })
        .collect()
}
