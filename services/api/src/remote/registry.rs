//! The list of workers over HTTP.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use miniapp_tasks::engine::WorkerReport;
use miniapp_types::name::QueueName;
use miniapp_types::task::{Kind, Worker};
use miniapp_types::worker::WorkerKind;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

/// The interval of reports, a third of the time after which a silent worker counts as gone.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// Characters of the version of a worker.
const MAX_VERSION: usize = 100;
/// When a worker without calls is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(1);

/// Workers by name. A claim call that comes while another one of the same name waits is that of a
/// second worker, which is listed with a number.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<Arc<str>, Listed>>);

#[derive(Debug)]
struct Listed {
    kinds: Arc<[WorkerKind]>,
    started_at: Timestamp,
    /// Waiting claim calls; at most one.
    is_calling: bool,
    called_at: Instant,
    reported_at: Option<Instant>,
}

/// A claim call of a worker, until this is dropped.
pub(super) struct Call<'r> {
    registry: &'r Registry,
    /// The name under which the worker is listed.
    pub name: Arc<str>,
    /// Whether its kinds are new or have changed.
    pub has_new_kinds: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(listed) = self.registry.0.lock().get_mut(&self.name) {
            listed.is_calling = false;
            listed.called_at = Instant::now();
        }
    }
}

impl Registry {
    /// Begins a claim call.
    pub fn call(&self, worker: &str, kinds: &[WorkerKind], now: Timestamp) -> Call<'_> {
        let mut workers = self.0.lock();
        workers.retain(|_, listed| listed.is_calling || listed.called_at.elapsed() < FORGET_AFTER);
        let name = (1..=u32::MAX)
            .map(|number| numbered(worker, number))
            .find(|name| workers.get(name).is_none_or(|listed| !listed.is_calling))
            .unwrap_or_else(|| worker.into());
        let listed = workers.entry(name.clone()).or_insert_with(|| Listed {
            kinds: [].into(),
            started_at: now,
            is_calling: true,
            called_at: Instant::now(),
            reported_at: None,
        });
        listed.is_calling = true;
        listed.called_at = Instant::now();
        let has_new_kinds = *listed.kinds != *kinds;
        if has_new_kinds {
            listed.reported_at = None;
        }
        Call { registry: self, name, has_new_kinds }
    }

    /// Records the kinds of a call, once they are known to be valid.
    pub fn set_kinds(&self, call: &Call<'_>, kinds: Vec<WorkerKind>) {
        if let Some(listed) = self.0.lock().get_mut(&call.name) {
            listed.kinds = kinds.into();
        }
    }

    /// Returns the report of a worker if it is due.
    pub fn due_report(
        &self,
        name: &Arc<str>,
        version: &str,
        queues: &[QueueName],
        running: usize,
        free: usize,
        now: Timestamp,
    ) -> Option<WorkerReport> {
        let mut workers = self.0.lock();
        let listed = workers.get_mut(name)?;
        if listed.reported_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return None;
        }
        listed.reported_at = Some(Instant::now());
        let schemas: BTreeMap<String, Value> =
            catalog(&listed.kinds).into_iter().map(|kind| (kind.name, kind.data_schema)).collect();
        let worker = Worker {
            name: name.to_string(),
            version: version.chars().take(MAX_VERSION).collect(),
            kinds: listed.kinds.iter().map(|kind| kind.name.clone()).collect(),
            queues: queues.to_vec(),
            running: u32::try_from(running).unwrap_or(u32::MAX),
            capacity: u32::try_from(running + free).unwrap_or(u32::MAX),
            started_at: listed.started_at,
            last_seen_at: now,
        };
        Some(WorkerReport { worker, schemas, has_kind_queues: true, is_remote: true })
    }
}

/// Returns the descriptions of kinds for the platform.
pub(super) fn catalog(kinds: &[WorkerKind]) -> Vec<Kind> {
    let described = |kind: &WorkerKind| Kind {
        name: kind.name.clone(),
        description: kind.description.clone().unwrap_or_default(),
        data_schema: kind.data_schema.clone().unwrap_or_else(|| json!({})),
        example: kind.example.clone().unwrap_or_default(),
        queue: kind.queue.as_deref().and_then(|queue| queue.parse().ok()).unwrap_or_default(),
    };
    kinds.iter().map(described).collect()
}

fn numbered(name: &str, number: u32) -> Arc<str> {
    if number == 1 { name.into() } else { format!("{name}-{number}").into() }
}
