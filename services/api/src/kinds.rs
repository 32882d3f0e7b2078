//! The kinds that workers can run, as far as it was heard.

use std::collections::HashSet;
use std::time::Duration;

use miniapp_tasks::{StoreError, Tasks};
use tokio::sync::RwLock;
use tokio::time::Instant;

/// How long a known kind stays known without asking.
const KEPT: Duration = Duration::from_secs(5);
/// How often the store is asked at most: a new worker may just have told its kinds.
const PAUSE: Duration = Duration::from_millis(250);

/// The names of the kinds, asked for now and then.
#[derive(Debug, Default)]
pub struct KnownKinds(RwLock<Option<Read>>);

#[derive(Debug)]
struct Read {
    names: HashSet<String>,
    at: Instant,
}

impl Read {
    fn allows(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }

    /// Whether it says enough about `name`.
    fn suffices(&self, name: &str) -> bool {
        let good_for = if self.allows(name) { KEPT } else { PAUSE };
        self.at.elapsed() < good_for
    }
}

impl KnownKinds {
    /// Whether a task of the kind `name` may be accepted: any, as long as no worker has
    /// ever said what it can run.
    pub(crate) async fn allow(&self, name: &str, tasks: &Tasks) -> Result<bool, StoreError> {
        if let Some(read) = self.0.read().await.as_ref().filter(|read| read.suffices(name)) {
            return Ok(read.allows(name));
        }
        let mut latest = self.0.write().await;
        if let Some(read) = latest.as_ref().filter(|read| read.suffices(name)) {
            return Ok(read.allows(name));
        }
        let names = tasks.kinds().await?.into_iter().map(|kind| kind.name).collect();
        let read = latest.insert(Read { names, at: Instant::now() });
        Ok(read.allows(name))
    }
}
