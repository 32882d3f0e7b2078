//! How tasks are laid out in rows.

use std::sync::Arc;

use contracts::task::TaskError;
use contracts::trace::TraceContext;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::{Spec, State, Task};
use crate::engine::StoreError;
use crate::stored::{raw, status, time, unsigned};

/// The task in a row of [`columns!`](crate::stored::columns).
pub(super) fn task(row: &SqliteRow) -> Result<Task, StoreError> {
    let mut next = Columns { row, index: 0 };
    let id = next.read()?;
    let owner = next.read()?;
    let spec = Spec {
        kind: next.read()?,
        description: next.read()?,
        data: raw(next.read()?)?,
        ttl: next.read()?,
        max_attempts: next.read()?,
        created_at: next.time()?.unwrap_or_default(),
        trace: TraceContext {
            traceparent: next.read::<Option<String>>()?.map(Into::into),
            tracestate: next.read::<Option<String>>()?.map(Into::into),
            baggage: next.read::<Option<String>>()?.map(Into::into),
        },
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
        attempt: next.read()?,
        generation: next.read()?,
        version: unsigned(next.read()?),
        claim: unsigned(next.read()?),
        lease_until: next.time()?,
        lost_leases: next.read()?,
        worker: next.read::<Option<String>>()?.map(Into::into),
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
struct Columns<'r> {
    row: &'r SqliteRow,
    index: usize,
}

impl<'r> Columns<'r> {
    fn read<T>(&mut self) -> Result<T, sqlx::Error>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.index += 1;
        self.row.try_get(self.index - 1)
    }

    fn time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.read::<Option<i64>>()?.map(time).transpose()
    }
}
