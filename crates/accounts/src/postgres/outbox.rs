//! The outbox, and mail that stays here.

use jiff::Timestamp;
use miniapp_postgres::Database;
use miniapp_runtime::clock::time_of;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::rows::{broken, count, micros, small, time, trace};
use super::transact::Work;
use crate::mail::{InboxMail, Mail};
use crate::outbox::{OutboxBacklog, OutboxKind, OutboxRow};
use crate::store::Result;

pub(super) async fn add(tx: &mut PgConnection, message: &OutboxRow) -> Work<()> {
    sqlx::query(
        "INSERT INTO duties \
         (id, kind, payload, traceparent, tracestate, baggage, due_at, not_after, attempts) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(message.id)
    .bind(message.kind.name())
    .bind(&message.payload)
    .bind(message.trace.traceparent.as_deref())
    .bind(message.trace.tracestate.as_deref())
    .bind(message.trace.baggage.as_deref())
    .bind(micros(message.due_at))
    .bind(message.not_after.map(micros))
    .bind(small(message.attempts))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn claim(
    database: &Database,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<OutboxRow>> {
    const CLAIM: &str = "WITH due AS MATERIALIZED (SELECT id FROM duties WHERE due_at <= $2 \
         ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
         UPDATE duties SET due_at = $1, attempts = attempts + 1 FROM due WHERE duties.id = due.id \
         RETURNING duties.id, kind, payload, traceparent, tracestate, baggage, due_at, not_after, \
         attempts - 1";
    let statement = || {
        let statement = sqlx::query(CLAIM).bind(micros(until)).bind(micros(now));
        statement.bind(i64::from(limit))
    };
    let rows = database.fetch_all(statement).await?;
    rows.iter()
        .map(|row| {
            Ok(OutboxRow {
                id: row.try_get(0)?,
                kind: row.try_get::<&str, _>(1)?.parse().map_err(broken)?,
                payload: row.try_get(2)?,
                trace: trace(row, 3)?,
                due_at: time(row.try_get(6)?)?,
                not_after: row.try_get::<Option<i64>, _>(7)?.map(time).transpose()?,
                attempts: count(row, 8)?,
            })
        })
        .collect()
}

pub(super) async fn backlog(database: &Database) -> Result<Vec<OutboxBacklog>> {
    // An id begins with the time of its message, and as a text it is in the same order.
    const COUNT: &str = "SELECT kind, count(*), min(id::text)::uuid FROM duties \
         WHERE due_at IS NOT NULL GROUP BY kind";
    let rows = database.fetch_all(|| sqlx::query(COUNT)).await?;
    rows.iter()
        .map(|row| {
            let kind = row.try_get::<&str, _>(0)?.parse().map_err(broken)?;
            let count = row.try_get::<i64, _>(1)?.cast_unsigned();
            Ok(OutboxBacklog { kind, count, since: time_of(row.try_get(2)?).unwrap_or_default() })
        })
        .collect()
}

pub(super) async fn finish(
    database: &Database,
    id: Uuid,
    remembered_until: Option<Timestamp>,
) -> Result<()> {
    const REMEMBER: &str = "UPDATE duties SET due_at = NULL, remembered_until = $2 WHERE id = $1";
    const FORGET: &str = "DELETE FROM duties WHERE id = $1";
    let statement = || match remembered_until {
        Some(end) => sqlx::query(REMEMBER).bind(id).bind(micros(end)),
        None => sqlx::query(FORGET).bind(id),
    };
    database.fetch_all(statement).await?;
    Ok(())
}

pub(super) async fn postpone(database: &Database, id: Uuid, due_at: Timestamp) -> Result<()> {
    const POSTPONE: &str = "UPDATE duties SET due_at = $1 WHERE id = $2";
    database.fetch_all(|| sqlx::query(POSTPONE).bind(micros(due_at)).bind(id)).await?;
    Ok(())
}

pub(super) async fn reopen(
    database: &Database,
    kind: OutboxKind,
    due_at: Timestamp,
) -> Result<u64> {
    const REOPEN: &str = "UPDATE duties SET due_at = $1, remembered_until = NULL, attempts = 0 \
         WHERE kind = $2 AND remembered_until IS NOT NULL RETURNING id";
    let statement = || sqlx::query(REOPEN).bind(micros(due_at)).bind(kind.name());
    Ok(database.fetch_all(statement).await?.len() as u64)
}

pub(super) async fn add_inbox_mail(database: &Database, kept: &InboxMail) -> Result<bool> {
    const KEEP: &str = "INSERT INTO inbox (id, at, address, subject, text, html) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING id";
    let InboxMail { at, mail } = kept;
    let statement = || {
        sqlx::query(KEEP)
            .bind(mail.id)
            .bind(micros(*at))
            .bind(&mail.to)
            .bind(&mail.subject)
            .bind(&mail.text)
            .bind(&mail.html)
    };
    Ok(database.fetch_optional(statement).await?.is_some())
}

pub(super) async fn inbox_mails(database: &Database, limit: u32) -> Result<Vec<InboxMail>> {
    const NEWEST: &str =
        "SELECT at, id, address, subject, text, html FROM inbox ORDER BY id DESC LIMIT $1";
    let rows = database.fetch_all(|| sqlx::query(NEWEST).bind(i64::from(limit))).await?;
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
