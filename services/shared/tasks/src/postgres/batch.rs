//! Lists of tasks as the arguments of one statement.
//!
//! Each column is one array, which `unnest` makes rows of: a statement's text doesn't
//! depend on how many there are, so it is prepared once.

use std::sync::LazyLock;

use ::postgres::Statement;
use serde_json::value::RawValue;

use super::values::{small, text};
use crate::engine::{Change, Insert};
use crate::stored::{micros, signed, status_code};
use crate::timeline;

/// The columns of a new task, in the order of [`bind_inserts`].
const INSERTED: [(&str, &str); 17] = [
    ("id", "uuid"),
    ("owner", "uuid"),
    ("kind", "text"),
    ("description", "text"),
    ("data", "text"),
    ("ttl", "int"),
    ("max_attempts", "int"),
    ("created_at", "bigint"),
    ("traceparent", "text"),
    ("tracestate", "text"),
    ("baggage", "text"),
    ("idempotency_key", "text"),
    ("body_digest", "bytea"),
    ("changed_at", "bigint"),
    ("run_at", "bigint"),
    ("ready_at", "bigint"),
    ("timeline", "text"),
];

/// What is known of a change, in the order of [`bind_changes`]: which task, from which
/// version, what is added to its timeline; then the columns that are set.
const CHANGED: [(&str, &str); 23] = [
    ("id", "uuid"),
    ("from_version", "bigint"),
    ("lines", "text"),
    ("status", "smallint"),
    ("message", "text"),
    ("progress", "float8"),
    ("result", "text"),
    ("error_code", "text"),
    ("error_message", "text"),
    ("attempt", "int"),
    ("generation", "int"),
    ("version", "bigint"),
    ("claim", "bigint"),
    ("lease_until", "bigint"),
    ("lost_leases", "int"),
    ("worker", "text"),
    ("changed_at", "bigint"),
    ("run_at", "bigint"),
    ("started_at", "bigint"),
    ("finished_at", "bigint"),
    ("ready_at", "bigint"),
    ("cancel_requested", "bool"),
    ("deleted", "bool"),
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
        static CHANGE: LazyLock<String> = LazyLock::new(|| change(0));
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
            statement = bind_inserts(statement, &self.inserts);
        }
        if !self.changes.is_empty() {
            statement = bind_changes(statement, &self.changes);
        }
        statement
    }
}

fn insert(keyed: bool) -> String {
    let names = names(&INSERTED);
    let conflict = if keyed {
        "ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
    } else {
        ""
    };
    format!(
        "INSERT INTO tasks ({names}, due_at) SELECT *, ready_at FROM {rows} AS new ({names}) \
         {conflict} RETURNING id, false",
        rows = unnest(&INSERTED, 0)
    )
}

/// One statement for all kinds of change: a row is written whole anyway, and an index
/// learns of it by what has changed, not by what was set.
fn change(arguments_before: usize) -> String {
    let set: Vec<String> =
        CHANGED[3..].iter().map(|(name, _)| format!("{name} = new.{name}")).collect();
    format!(
        "UPDATE tasks SET {set}, due_at = new.ready_at, dispatched_at = NULL, \
         idempotency_key = CASE WHEN new.deleted THEN NULL ELSE idempotency_key END, \
         timeline = timeline || new.lines FROM {rows} AS new ({names}) \
         WHERE tasks.id = new.id AND tasks.version = new.from_version \
         RETURNING tasks.id, octet_length(timeline) > {LONG}",
        set = set.join(", "),
        rows = unnest(&CHANGED, arguments_before),
        names = names(&CHANGED)
    )
}

/// The order counts: what is read first is done first.
fn both(keyed: bool) -> String {
    format!(
        "WITH inserted (id, long) AS ({insert}), changed (id, long) AS ({change}) \
         SELECT * FROM inserted UNION ALL SELECT * FROM changed",
        insert = insert(keyed),
        change = change(INSERTED.len())
    )
}

fn names(columns: &[(&str, &str)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn unnest(columns: &[(&str, &str)], arguments_before: usize) -> String {
    let arrays: Vec<String> = (arguments_before + 1..)
        .zip(columns)
        .map(|(number, (_, of))| format!("${number}::{of}[]"))
        .collect();
    format!("unnest({})", arrays.join(", "))
}

/// A column of some rows.
fn column<'b, R, T>(rows: &[&'b R], value: impl Fn(&'b R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}

fn bind_inserts<'b>(statement: Statement<'b>, rows: &[&'b Insert]) -> Statement<'b> {
    statement
        .bind(column(rows, |new| new.task.id))
        .bind(column(rows, |new| new.task.owner))
        .bind(column(rows, |new| text(&new.task.spec.kind)))
        .bind(column(rows, |new| text(&new.task.spec.description)))
        .bind(column(rows, |new| new.task.spec.data.get()))
        .bind(column(rows, |new| small(new.task.spec.ttl)))
        .bind(column(rows, |new| small(new.task.spec.max_attempts)))
        .bind(column(rows, |new| micros(new.task.spec.created_at)))
        .bind(column(rows, |new| new.task.spec.trace.traceparent.as_deref()))
        .bind(column(rows, |new| new.task.spec.trace.tracestate.as_deref()))
        .bind(column(rows, |new| new.task.spec.trace.baggage.as_deref()))
        .bind(column(rows, |new| new.key.as_ref().map(|key| key.key.as_str())))
        .bind(column(rows, |new| new.key.as_ref().map(|key| key.digest.as_slice())))
        .bind(column(rows, |new| micros(new.task.state.changed_at)))
        .bind(column(rows, |new| new.task.state.run_at.map(micros)))
        .bind(column(rows, |new| new.task.state.ready_at.map(micros)))
        .bind(column(rows, |new| timeline::lines(std::slice::from_ref(&new.event))))
}

fn bind_changes<'b>(statement: Statement<'b>, rows: &[&'b Change]) -> Statement<'b> {
    let state = |change: &'b Change| &change.task.state;
    let error = |change: &'b Change| change.task.state.error.as_ref();
    statement
        .bind(column(rows, |change| change.task.id))
        .bind(column(rows, |change| signed(change.from_version)))
        .bind(column(rows, |change| timeline::lines(&change.events)))
        .bind(column(rows, |change| status_code(state(change).status)))
        .bind(column(rows, |change| state(change).message.as_deref().map(text)))
        .bind(column(rows, |change| state(change).progress))
        .bind(column(rows, |change| state(change).result.as_deref().map(RawValue::get)))
        .bind(column(rows, |change| error(change).map(|error| text(&error.code))))
        .bind(column(rows, |change| error(change).map(|error| text(&error.message))))
        .bind(column(rows, |change| small(state(change).attempt)))
        .bind(column(rows, |change| small(state(change).generation)))
        .bind(column(rows, |change| signed(state(change).version)))
        .bind(column(rows, |change| signed(state(change).claim)))
        .bind(column(rows, |change| state(change).lease_until.map(micros)))
        .bind(column(rows, |change| small(state(change).lost_leases)))
        .bind(column(rows, |change| state(change).worker.as_deref().map(text)))
        .bind(column(rows, |change| micros(state(change).changed_at)))
        .bind(column(rows, |change| state(change).run_at.map(micros)))
        .bind(column(rows, |change| state(change).started_at.map(micros)))
        .bind(column(rows, |change| state(change).finished_at.map(micros)))
        .bind(column(rows, |change| state(change).ready_at.map(micros)))
        .bind(column(rows, |change| state(change).cancel_requested))
        .bind(column(rows, |change| state(change).deleted))
}
