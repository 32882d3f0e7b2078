//! The kinds that workers have announced.

use std::collections::HashSet;
use std::time::Duration;

use miniapp_tasks::{StoreError, Tasks};
use tokio::sync::RwLock;
use tokio::time::Instant;

/// How long a known kind is cached.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(5);
/// How long an unknown kind is cached: a new worker may just have announced it.
pub(crate) const MAX_AGE_UNKNOWN: Duration = Duration::from_millis(250);

/// A cache of the names of the announced kinds.
#[derive(Debug, Default)]
pub struct KnownKinds(RwLock<Option<Snapshot>>);

#[derive(Debug)]
struct Snapshot {
    names: HashSet<String>,
    at: Instant,
}

impl Snapshot {
    fn allows(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }

    fn is_fresh_for(&self, name: &str) -> bool {
        let max_age = if self.allows(name) { MAX_AGE } else { MAX_AGE_UNKNOWN };
        self.at.elapsed() < max_age
    }
}

impl KnownKinds {
    /// Returns whether tasks of the kind `name` are accepted. Until the first worker has
    /// announced its kinds, every kind is.
    pub(crate) async fn allow(&self, name: &str, tasks: &Tasks) -> Result<bool, StoreError> {
        if let Some(snapshot) = self.0.read().await.as_ref().filter(|it| it.is_fresh_for(name)) {
            return Ok(snapshot.allows(name));
        }
        let mut latest = self.0.write().await;
        if let Some(snapshot) = latest.as_ref().filter(|it| it.is_fresh_for(name)) {
            return Ok(snapshot.allows(name));
        }
        let names = tasks.kinds().await?.into_iter().map(|kind| kind.name).collect();
        let snapshot = latest.insert(Snapshot { names, at: Instant::now() });
        Ok(snapshot.allows(name))
    }
}
