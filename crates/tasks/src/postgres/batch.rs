//! Lists of tasks as the arguments of one statement.
//!
//! Each list is one array of a composite type of the database's, which `unnest` makes rows
//! of: a statement's text doesn't depend on how many there are, so it is prepared once. An
//! array for each column would be simpler, and take the server three times as long: it
//! keeps the rows of each `unnest` by themselves.

use std::borrow::Cow;
use std::sync::LazyLock;

use miniapp_postgres::Statement;
use serde_json::value::RawValue;
use sqlx::Postgres;
use sqlx::postgres::{PgHasArrayType, PgTypeInfo};
use uuid::Uuid;

use super::values::{small, text};
use crate::engine::{Change, Insert};
use crate::stored::{micros, signed, status_code};
use crate::timeline;

/// A new task as the database's type of this name has it, whose order counts.
#[derive(sqlx::Encode)]
struct NewTask<'b> {
    id: Uuid,
    owner: Uuid,
    kind: Cow<'b, str>,
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

/// The columns of a new task, in the same order.
const NEW: &str = "id, owner, kind, description, data, ttl, max_attempts, created_at, \
     traceparent, tracestate, baggage, idempotency_key, body_digest, changed_at, run_at, \
     ready_at, timeline";

/// A change as the database's type of this name has it, whose order counts: which task,
/// from which version, what is added to its timeline; then the columns that are set.
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

/// The columns that are set.
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

/// Longer timelines are moved to pages. Short enough for the row to stay in one piece.
const LONG: usize = 4096;

/// What is written together, in the order in which rows are locked: two batches that share
/// tasks or keys then wait for each other and never both.
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

    /// The statement that writes it all. It answers the id of each task that was written,
    /// and whether its timeline has grown long. A task whose key is taken is left out; one
    /// whose id is taken makes all of it fail.
    pub fn statement(&self) -> Statement<'b> {
        static INSERT: LazyLock<[String; 2]> = LazyLock::new(|| [insert(false), insert(true)]);
        static CHANGE: LazyLock<String> = LazyLock::new(|| change(1));
        static BOTH: LazyLock<[String; 2]> = LazyLock::new(|| [both(false), both(true)]);
        // Looking for a key costs all tasks of a batch, so only those do that have one.
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
         FROM unnest($1::new_task[]) AS new {conflict} RETURNING id, false"
    )
}

/// One statement for all kinds of change: a row is written whole anyway, and an index
/// learns of it by what has changed, not by what was set. The changes are the argument
/// with this number.
fn change(argument: u8) -> String {
    let set: Vec<String> = SET.iter().map(|name| format!("{name} = new.{name}")).collect();
    format!(
        "UPDATE tasks SET {set}, due_at = new.ready_at, dispatched_at = NULL, \
         idempotency_key = CASE WHEN new.deleted THEN NULL ELSE idempotency_key END, \
         timeline = timeline || new.lines FROM unnest(${argument}::task_change[]) AS new \
         WHERE tasks.id = new.id AND tasks.version = new.from_version \
         RETURNING tasks.id, octet_length(timeline) > {LONG}",
        set = set.join(", "),
    )
}

/// The order counts: what is read first is done first.
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

/// Tells sqlx the names of our types.
macro_rules! named {
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

named!(NewTask is "new_task", TaskChange is "task_change");
