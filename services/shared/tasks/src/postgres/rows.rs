//! How tasks are laid out in rows.

use std::borrow::Cow;
use std::sync::Arc;

use contracts::task::TaskError;
use contracts::trace::TraceContext;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::domain::{Spec, State, Task};
use crate::engine::StoreError;
use crate::stored::{raw, status, time, unsigned};

/// The task in a row of [`columns!`](crate::stored::columns).
pub(super) fn task(row: &PgRow) -> Result<Task, StoreError> {
    let mut next = Columns::of(row);
    let id = next.read()?;
    let owner = next.read()?;
    let spec = Spec {
        kind: next.read()?,
        description: next.read()?,
        data: raw(next.read()?)?,
        ttl: next.count()?,
        max_attempts: next.count()?,
        created_at: time(next.read()?)?,
        trace: next.trace()?,
    };
    let status = status(next.read()?)?;
    let message = next.read()?;
    let progress = next.read()?;
    let result = next.read::<Option<String>>()?.map(raw).transpose()?.map(Arc::from);
    let code: Option<String> = next.read()?;
    let error_message: Option<String> = next.read()?;
    let state = State {
        status,
        message,
        progress,
        result,
        error: code.map(|code| TaskError { code, message: error_message.unwrap_or_default() }),
        attempt: next.count()?,
        generation: next.count()?,
        version: unsigned(next.read()?),
        claim: unsigned(next.read()?),
        lease_until: next.time()?,
        lost_leases: next.count()?,
        worker: next.read::<Option<&str>>()?.map(Into::into),
        changed_at: time(next.read()?)?,
        run_at: next.time()?,
        started_at: next.time()?,
        finished_at: next.time()?,
        ready_at: next.time()?,
        cancel_requested: next.read()?,
        deleted: next.read()?,
    };
    Ok(Task { id, owner, spec: Arc::new(spec), state })
}

/// Reads a row from left to right.
pub(super) struct Columns<'r> {
    row: &'r PgRow,
    index: usize,
}

impl<'r> Columns<'r> {
    pub fn of(row: &'r PgRow) -> Self {
        Self { row, index: 0 }
    }

    pub fn read<T>(&mut self) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        self.index += 1;
        Ok(self.row.try_get(self.index - 1)?)
    }

    /// A number that isn't negative, as [`small`] stored it.
    pub fn count(&mut self) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.read::<i32>()?).unwrap_or(0))
    }

    pub fn time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.read::<Option<i64>>()?.map(time).transpose()
    }

    pub fn trace(&mut self) -> Result<TraceContext, StoreError> {
        Ok(TraceContext {
            traceparent: self.read::<Option<&str>>()?.map(Into::into),
            tracestate: self.read::<Option<&str>>()?.map(Into::into),
            baggage: self.read::<Option<&str>>()?.map(Into::into),
        })
    }
}

/// PostgreSQL's integers are signed; these stay far below the limit.
pub(super) fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What PostgreSQL can keep of a text: anything but NUL. One task's message must not make
/// the batch fail that it is part of.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}
