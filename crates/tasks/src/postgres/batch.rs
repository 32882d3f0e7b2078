//! Batches as arguments of one statement.
//!
//! A batch is an array of a composite type, which `unnest` expands to rows. The statement's
//! text does not depend on the batch size, so it is prepared once. An array per column would
//! be simpler but takes the server three times as long, because it materializes each
//! `unnest`.

use std::borrow::Cow;
use std::sync::LazyLock;

use miniapp_postgres::Statement;
use serde_json::value::RawValue;
use sqlx::Postgres;
use sqlx::postgres::{PgHasArrayType, PgTypeInfo};
use uuid::Uuid;

use super::values::{small, text};
use crate::column_values::{micros, signed, status_code};
use crate::engine::{Change, Insert};
use crate::timeline;

/// The composite type `queued_task`; the field order matters.
#[derive(sqlx::Encode)]
struct NewTask<'b> {
    id: Uuid,
    owner: Uuid,
    kind: Cow<'b, str>,
    queue: &'b str,
    description: Cow<'b, str>,
    data: &'b str,
    ttl: i32,
    max_attempts: i32,
    created_at: i64,
    traceparent: Option<&'b str>,
    tracestate: Option<&'b str>,
    baggage: Option<&'b str>,
    idempotency_key: Option<&'b str>,
    body_digest: Option<&'b [u8]>,
    changed_at: i64,
    run_at: Option<i64>,
    ready_at: Option<i64>,
    timeline: String,
}

/// The columns of [`NewTask`], in the same order.
const NEW: &str = "id, owner, kind, queue, description, data, ttl, max_attempts, created_at, \
     traceparent, tracestate, baggage, idempotency_key, body_digest, changed_at, run_at, \
     ready_at, timeline";

/// The composite type `task_change`; the field order matters. The task, the guarding version
/// and the lines added to the timeline are followed by the changed columns.
#[derive(sqlx::Encode)]
struct TaskChange<'b> {
    id: Uuid,
    from_version: i64,
    lines: String,
    status: i16,
    message: Option<Cow<'b, str>>,
    progress: f64,
    result: Option<&'b str>,
    error_code: Option<Cow<'b, str>>,
    error_message: Option<Cow<'b, str>>,
    attempt: i32,
    generation: i32,
    version: i64,
    claim: i64,
    lease_until: Option<i64>,
    lost_leases: i32,
    worker: Option<Cow<'b, str>>,
    changed_at: i64,
    run_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    ready_at: Option<i64>,
    cancel_requested: bool,
    deleted: bool,
}

/// The changed columns.
const SET: [&str; 20] = [
    "status",
    "message",
    "progress",
    "result",
    "error_code",
    "error_message",
    "attempt",
    "generation",
    "version",
    "claim",
    "lease_until",
    "lost_leases",
    "worker",
    "changed_at",
    "run_at",
    "started_at",
    "finished_at",
    "ready_at",
    "cancel_requested",
    "deleted",
];

/// Timelines longer than this many bytes are moved to pages, so that the row is not stored
/// out of line.
const MAX_TIMELINE: usize = 4096;

/// A batch in lock order: concurrent batches with common tasks or keys cannot deadlock.
pub(super) struct Batch<'b> {
    inserts: Vec<&'b Insert>,
    changes: Vec<&'b Change>,
}

impl<'b> Batch<'b> {
    pub fn new(inserts: Vec<&'b Insert>, changes: &'b [Change]) -> Self {
        let mut batch = Self { inserts, changes: changes.iter().collect() };
        if batch.has_keys() {
            let key = |insert: &Insert| insert.key.as_ref().map(|key| key.key.clone());
            batch.inserts.sort_by_cached_key(|insert| (insert.task.owner, key(insert)));
        }
        batch.changes.sort_unstable_by_key(|change| change.task.id);
        batch
    }

    pub fn is_empty(&self) -> bool {
        self.inserts.is_empty() && self.changes.is_empty()
    }

    pub fn inserts(&self) -> impl Iterator<Item = &'b Insert> {
        self.inserts.iter().copied()
    }

    fn has_keys(&self) -> bool {
        self.inserts.iter().any(|insert| insert.key.is_some())
    }

    /// Returns the statement that writes the batch. Its rows are the id of each written task
    /// and whether its timeline is too long. A task whose key is taken is skipped; one whose
    /// id is taken fails the statement.
    pub fn statement(&self) -> Statement<'b> {
        static INSERT: LazyLock<[String; 2]> = LazyLock::new(|| [insert(false), insert(true)]);
        static CHANGE: LazyLock<String> = LazyLock::new(|| change(1));
        static BOTH: LazyLock<[String; 2]> = LazyLock::new(|| [both(false), both(true)]);
        // The conflict check costs time for every task, so it is used only with keys.
        let keyed = usize::from(self.has_keys());
        let sql = match (self.inserts.is_empty(), self.changes.is_empty()) {
            (false, true) => &INSERT[keyed],
            (true, _) => &*CHANGE,
            (false, false) => &BOTH[keyed],
        };
        let mut statement = sqlx::query(sql.as_str());
        if !self.inserts.is_empty() {
            statement = statement.bind(rows::<_, NewTask>(&self.inserts));
        }
        if !self.changes.is_empty() {
            statement = statement.bind(rows::<_, TaskChange>(&self.changes));
        }
        statement
    }
}

fn rows<'b, T, R: From<&'b T>>(list: &[&'b T]) -> Vec<R> {
    list.iter().copied().map(R::from).collect()
}

fn insert(keyed: bool) -> String {
    let conflict = if keyed {
        "ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
    } else {
        ""
    };
    format!(
        "INSERT INTO tasks ({NEW}, due_at) SELECT new.*, ready_at \
         FROM unnest($1::queued_task[]) AS new {conflict} RETURNING id, false"
    )
}

/// One statement serves all changes: PostgreSQL writes whole rows, and indexes are updated
/// only if their columns have changed. `argument` is the number of the array.
fn change(argument: u8) -> String {
    let set: Vec<String> = SET.iter().map(|name| format!("{name} = new.{name}")).collect();
    format!(
        "UPDATE tasks SET {set}, due_at = new.ready_at, dispatched_at = NULL, \
         idempotency_key = CASE WHEN new.deleted THEN NULL ELSE idempotency_key END, \
         timeline = timeline || new.lines FROM unnest(${argument}::task_change[]) AS new \
         WHERE tasks.id = new.id AND tasks.version = new.from_version \
         RETURNING tasks.id, octet_length(timeline) > {MAX_TIMELINE}",
        set = set.join(", "),
    )
}

/// The order matters: inserts are executed before changes.
fn both(keyed: bool) -> String {
    format!(
        "WITH inserted (id, long) AS ({insert}), changed (id, long) AS ({change}) \
         SELECT * FROM inserted UNION ALL SELECT * FROM changed",
        insert = insert(keyed),
        change = change(2)
    )
}

impl<'b> From<&'b Insert> for NewTask<'b> {
    fn from(Insert { task, event, key }: &'b Insert) -> Self {
        let (spec, state) = (&*task.spec, &task.state);
        Self {
            id: task.id,
            owner: task.owner,
            kind: text(&spec.kind),
            queue: spec.queue.as_str(),
            description: text(&spec.description),
            data: spec.data.get(),
            ttl: small(spec.ttl),
            max_attempts: small(spec.max_attempts),
            created_at: micros(spec.created_at),
            traceparent: spec.trace.traceparent.as_deref(),
            tracestate: spec.trace.tracestate.as_deref(),
            baggage: spec.trace.baggage.as_deref(),
            idempotency_key: key.as_ref().map(|key| key.key.as_str()),
            body_digest: key.as_ref().map(|key| key.digest.as_slice()),
            changed_at: micros(state.changed_at),
            run_at: state.run_at.map(micros),
            ready_at: state.ready_at.map(micros),
            timeline: timeline::encode(std::slice::from_ref(event)),
        }
    }
}

impl<'b> From<&'b Change> for TaskChange<'b> {
    fn from(Change { task, from_version, events }: &'b Change) -> Self {
        let (state, error) = (&task.state, task.state.error.as_ref());
        Self {
            id: task.id,
            from_version: signed(*from_version),
            lines: timeline::encode(events),
            status: status_code(state.status),
            message: state.message.as_deref().map(text),
            progress: state.progress,
            result: state.result.as_deref().map(RawValue::get),
            error_code: error.map(|error| text(&error.code)),
            error_message: error.map(|error| text(&error.message)),
            attempt: small(state.attempt),
            generation: small(state.generation),
            version: signed(state.version),
            claim: signed(state.claim),
            lease_until: state.lease_until.map(micros),
            lost_leases: small(state.lost_leases),
            worker: state.worker.as_deref().map(text),
            changed_at: micros(state.changed_at),
            run_at: state.run_at.map(micros),
            started_at: state.started_at.map(micros),
            finished_at: state.finished_at.map(micros),
            ready_at: state.ready_at.map(micros),
            cancel_requested: state.cancel_requested,
            deleted: state.deleted,
        }
    }
}

/// Implements `sqlx::Type` for the composite types.
macro_rules! composite_types {
    ($($rust:ident is $name:literal),* $(,)?) => {
        $(impl sqlx::Type<Postgres> for $rust<'_> {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($name)
            }
        }

        impl PgHasArrayType for $rust<'_> {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::array_of($name)
            }
        })*
    };
}

composite_types!(NewTask is "queued_task", TaskChange is "task_change");
