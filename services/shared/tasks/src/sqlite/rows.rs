//! How tasks are laid out in rows.

use std::sync::Arc;

use contracts::task::{Status, TaskError};
use contracts::trace::TraceContext;
use jiff::Timestamp;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::{Spec, State, Task};
use crate::engine::StoreError;

/// The columns that [`task`] reads, in its order.
macro_rules! columns {
    () => {
        "id, owner, kind, description, data, ttl, max_attempts, created_at, traceparent, \
         tracestate, baggage, status, message, progress, result, error_code, error_message, \
         attempt, generation, version, claim, lease_until, lost_leases, worker, run_at, \
         started_at, finished_at, ready_at, cancel_requested, deleted"
    };
}
pub(super) use columns;

/// The task in a row of [`columns`].
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

/// The stored form of a time.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The time in a stored form.
pub(super) fn time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| StoreError::Broken(error.to_string()))
}

/// SQLite's integers are signed; counters stay far below the limit.
pub(super) fn signed(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// See [`signed`].
pub(super) fn unsigned(counter: i64) -> u64 {
    u64::try_from(counter).unwrap_or(0)
}

/// The stored form of a status.
pub(super) fn status_code(status: Status) -> i64 {
    match status {
        Status::Awaiting => 0,
        Status::Executing => 1,
        Status::Finished => 2,
        Status::Canceled => 3,
        Status::Failed => 4,
    }
}

/// The status in a stored form.
pub(super) fn status(code: i64) -> Result<Status, StoreError> {
    Ok(match code {
        0 => Status::Awaiting,
        1 => Status::Executing,
        2 => Status::Finished,
        3 => Status::Canceled,
        4 => Status::Failed,
        other => return Err(StoreError::Broken(format!("{other} is no status"))),
    })
}

fn raw(json: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(json).map_err(|error| StoreError::Broken(error.to_string()))
}
