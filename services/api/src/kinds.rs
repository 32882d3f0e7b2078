//! The kinds that workers have announced, and the schemas of their data.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::capabilities::{Capabilities, Missing};
use miniapp_tasks::engine::WorkerReport;
use miniapp_tasks::{StoreError, Task, Tasks};
use miniapp_types::name::QueueName;
use miniapp_types::problem::FieldError;
use miniapp_types::task::Kind;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::schema::DataSchema;

/// The maximum age of what accepts a task.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(5);
/// The maximum age of what rejects one: a new worker may just have announced its kinds.
pub(crate) const MAX_AGE_REJECTING: Duration = Duration::from_millis(250);

/// A task that waits for less is about to be dispatched.
const UNEXPLAINED_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// A cache of the announced kinds.
#[derive(Debug, Default)]
pub struct KnownKinds(RwLock<Option<Snapshot>>);

#[derive(Debug)]
struct Snapshot {
    kinds: HashMap<String, KnownKind>,
    /// What the live workers run.
    able: Capabilities,
    at: Instant,
}

#[derive(Debug)]
struct KnownKind {
    /// The queue of tasks that name none.
    queue: QueueName,
    /// The schema on which all live workers agree.
    schema: Option<Arc<DataSchema>>,
}

impl KnownKinds {
    /// Returns why no worker can run a task of this kind with this data. Until the first
    /// worker has announced its kinds, every kind is accepted.
    pub(crate) async fn check(
        &self,
        kind: &str,
        data: Option<&RawValue>,
        tasks: &Tasks,
    ) -> Result<Vec<FieldError>, StoreError> {
        if let Some(errors) = self.0.read().await.as_ref().and_then(|it| it.check(kind, data)) {
            return Ok(errors);
        }
        let mut latest = self.0.write().await;
        if let Some(errors) = latest.as_ref().and_then(|it| it.check(kind, data)) {
            return Ok(errors);
        }
        let snapshot = Snapshot::load(tasks, latest.take()).await?;
        let errors = snapshot.errors(kind, data);
        *latest = Some(snapshot);
        Ok(errors)
    }

    /// Adds to each task that no live worker can run what it waits for.
    pub(crate) async fn explain_waits(
        &self,
        waiting: &mut [Task],
        now: Timestamp,
        tasks: &Tasks,
    ) -> Result<(), StoreError> {
        let since = now.saturating_sub(UNEXPLAINED_WAIT).unwrap_or(Timestamp::MIN);
        let is_waiting = |task: &Task| task.state.ready_at.is_some_and(|at| at <= since);
        if !waiting.iter().any(is_waiting) {
            return Ok(());
        }
        let is_fresh = |snapshot: &Snapshot| snapshot.at.elapsed() < MAX_AGE;
        let mut able = self.0.read().await.as_ref().filter(|it| is_fresh(it)).map(Snapshot::able);
        if able.is_none() {
            let mut latest = self.0.write().await;
            let snapshot = Snapshot::load(tasks, latest.take()).await?;
            able = Some(snapshot.able());
            *latest = Some(snapshot);
        }
        let able = able.unwrap_or_default();
        for task in waiting.iter_mut().filter(|task| is_waiting(task)) {
            let (queue, kind) = (&task.spec.queue, &task.spec.kind);
            let missing = able.missing(queue, kind).map(|missing| match missing {
                Missing::Worker => "Waits for a worker: none is live".to_owned(),
                Missing::Kind => format!("Waits for a worker that runs the kind `{kind}`"),
                Missing::Queue => format!(
                    "Waits for a worker that runs the kind `{kind}` and takes tasks from the queue \
                     `{queue}`"
                ),
            });
            if missing.is_some() {
                task.state.message = missing;
            }
        }
        Ok(())
    }

    /// Returns the queue of a kind, as of its last check.
    pub(crate) async fn queue(&self, kind: &str) -> QueueName {
        let latest = self.0.read().await;
        let known = latest.as_ref().and_then(|snapshot| snapshot.kinds.get(kind));
        known.map(|known| known.queue).unwrap_or_default()
    }
}

impl Snapshot {
    /// `previous` saves compiling its schemas again.
    async fn load(tasks: &Tasks, previous: Option<Self>) -> Result<Self, StoreError> {
        let known = tasks.kinds().await?.into_iter();
        let reports = tasks.worker_reports().await?;
        let able = Capabilities::new(&reports);
        let mut schemas = agreed(reports);
        let mut compiled = previous.map(|previous| previous.kinds).unwrap_or_default();
        let kinds = known.map(|Kind { name, queue, .. }| {
            let schema = schemas.remove(&name).flatten().and_then(|schema| {
                let before = compiled.remove(&name).and_then(|before| before.schema);
                let same = before.filter(|before| *before.document() == schema);
                same.or_else(|| DataSchema::new(&name, schema).map(Arc::new))
            });
            (name, KnownKind { queue, schema })
        });
        Ok(Self { kinds: kinds.collect(), able, at: Instant::now() })
    }

    fn able(&self) -> Capabilities {
        self.able.clone()
    }

    /// Returns the errors unless the snapshot is too old.
    fn check(&self, kind: &str, data: Option<&RawValue>) -> Option<Vec<FieldError>> {
        let errors = self.errors(kind, data);
        let max_age = if errors.is_empty() { MAX_AGE } else { MAX_AGE_REJECTING };
        (self.at.elapsed() < max_age).then_some(errors)
    }

    fn errors(&self, kind: &str, data: Option<&RawValue>) -> Vec<FieldError> {
        match self.kinds.get(kind) {
            None if self.kinds.is_empty() => Vec::new(),
            None => {
                let message = "is none that a worker can run".to_owned();
                vec![FieldError { field: "kind".to_owned(), message }]
            }
            Some(KnownKind { schema, .. }) => match (schema, data) {
                (Some(schema), Some(data)) => schema.errors(data),
                _ => Vec::new(),
            },
        }
    }
}

/// Returns the schema of each kind; `None` if live workers differ, as during a rollout, or if
/// one does not report its schemas.
fn agreed(reports: Vec<WorkerReport>) -> HashMap<String, Option<Value>> {
    let mut agreed = HashMap::new();
    for WorkerReport { worker, mut schemas, .. } in reports {
        for kind in worker.kinds {
            let schema = schemas.remove(&kind);
            match agreed.entry(kind) {
                Entry::Vacant(first) => {
                    first.insert(schema);
                }
                Entry::Occupied(mut other) => {
                    if *other.get() != schema {
                        other.insert(None);
                    }
                }
            }
        }
    }
    agreed
}
