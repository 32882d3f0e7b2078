//! Reads tasks from the rows of either database.

use std::sync::Arc;

use jiff::Timestamp;
use miniapp_types::name::QueueName;
use miniapp_types::task::{QueueStatus, TaskError};
use miniapp_types::trace::TraceContext;
use sqlx::{ColumnIndex, Database, Decode, Row, Type};
use uuid::Uuid;

use crate::column_values::{raw, status, time, unsigned};
use crate::domain::{Spec, State, Task};
use crate::engine::{DueTask, StoreError, TaskGroup};

/// The columns of a task, in the order in which [`Columns::task`] reads them.
macro_rules! columns {
    () => {
        "id, owner, kind, queue, description, data, ttl, max_attempts, created_at, traceparent, \
         tracestate, baggage, status, message, progress, result, error_code, error_message, \
         attempt, generation, version, claim, lease_until, lost_leases, worker, changed_at, \
         run_at, started_at, finished_at, ready_at, cancel_requested, deleted"
    };
}
pub(crate) use columns;

/// The columns of a task of the outbox.
macro_rules! due_columns {
    () => {
        "tasks.id, generation, version, kind, queue, ready_at, changed_at, attempt, traceparent, \
         tracestate, baggage"
    };
}
pub(crate) use due_columns;

/// A type that can be decoded from a column.
pub(crate) trait Value<'r, D: Database>: Decode<'r, D> + Type<D> {}

impl<'r, D: Database, T: Decode<'r, D> + Type<D>> Value<'r, D> for T {}

/// Reads the columns of a row from left to right.
pub(crate) struct Columns<'r, R> {
    row: &'r R,
    index: usize,
}

impl<'r, R> Columns<'r, R>
where
    R: Row,
    usize: ColumnIndex<R>,
    bool: Value<'r, R::Database>,
    f64: Value<'r, R::Database>,
    i16: Value<'r, R::Database>,
    i32: Value<'r, R::Database>,
    i64: Value<'r, R::Database>,
    &'r str: Value<'r, R::Database>,
    String: Value<'r, R::Database>,
    Uuid: Value<'r, R::Database>,
{
    pub fn new(row: &'r R) -> Self {
        Self { row, index: 0 }
    }

    pub fn read<T: Value<'r, R::Database>>(&mut self) -> Result<T, StoreError> {
        self.index += 1;
        Ok(self.row.try_get(self.index - 1)?)
    }

    /// Reads a number; negative values become 0.
    pub fn count(&mut self) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.read::<i32>()?).unwrap_or(0))
    }

    pub fn queue(&mut self) -> Result<QueueName, StoreError> {
        let text: &str = self.read()?;
        text.parse().map_err(|_| StoreError::Internal(format!("{text:?} is no queue")))
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

    /// Reads a task of the outbox from a row of [`due_columns!`].
    pub fn due_task(mut self) -> Result<DueTask, StoreError> {
        Ok(DueTask {
            id: self.read()?,
            generation: self.count()?,
            version: unsigned(self.read()?),
            kind: self.read()?,
            queue: self.queue()?,
            at: self.time()?.unwrap_or_default(),
            since: time(self.read()?)?,
            attempt: self.count()?,
            trace: self.trace()?,
        })
    }

    /// Reads a queue and a kind.
    pub fn task_group(mut self) -> Result<TaskGroup, StoreError> {
        Ok(TaskGroup { queue: self.queue()?, kind: self.read()? })
    }

    /// Reads a queue, its numbers of waiting and of running tasks, and since when its oldest task
    /// may run.
    pub fn queue_status(mut self, now: Timestamp) -> Result<QueueStatus, StoreError> {
        let name = self.queue()?;
        let (waiting, running) = (unsigned(self.read()?), unsigned(self.read()?));
        let waited = |at: Timestamp| now.duration_since(at).as_secs_f64().max(0.0);
        let oldest_wait_seconds = self.time()?.map_or(0.0, waited);
        Ok(QueueStatus { name, waiting, running, oldest_wait_seconds })
    }

    /// Reads a task from a row of [`columns!`].
    pub fn task(mut self) -> Result<Task, StoreError> {
        let id = self.read()?;
        let owner = self.read()?;
        let spec = Spec {
            kind: self.read()?,
            queue: self.queue()?,
            description: self.read()?,
            data: raw(self.read()?)?,
            ttl: self.count()?,
            max_attempts: self.count()?,
            created_at: time(self.read()?)?,
            trace: self.trace()?,
        };
        let status = status(self.read()?)?;
        let message = self.read()?;
        let progress = self.read()?;
        let result = self.read::<Option<String>>()?.map(raw).transpose()?.map(Arc::from);
        let code: Option<String> = self.read()?;
        let error_message: Option<String> = self.read()?;
        let state = State {
            status,
            message,
            progress,
            result,
            error: code.map(|code| TaskError { code, message: error_message.unwrap_or_default() }),
            attempt: self.count()?,
            generation: self.count()?,
            version: unsigned(self.read()?),
            claim: unsigned(self.read()?),
            lease_until: self.time()?,
            lost_leases: self.count()?,
            worker: self.read::<Option<&str>>()?.map(Into::into),
            changed_at: time(self.read()?)?,
            run_at: self.time()?,
            started_at: self.time()?,
            finished_at: self.time()?,
            ready_at: self.time()?,
            cancel_requested: self.read()?,
            deleted: self.read()?,
        };
        Ok(Task { id, owner, spec: Arc::new(spec), state })
    }
}
