//! The state shared by all requests.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use jiff::SignedDuration;
use miniapp_runtime::clock::Clock;
use miniapp_tasks::Tasks;

use crate::config::StreamConfig;
use crate::kinds::KnownKinds;
use crate::live::LiveEvents;
use crate::remote::RemoteWorkers;
use crate::token::TokenVerifier;

/// The state of the service. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// See [`Api`].
pub struct Shared {
    pub tasks: Tasks,
    pub verifier: TokenVerifier,
    pub live: LiveEvents,
    pub kinds: KnownKinds,
    pub remote: RemoteWorkers,
    /// The kind of tasks that name none.
    pub default_kind: Option<String>,
    pub clock: Arc<dyn Clock>,
}

impl Api {
    /// `has_other_writers`: other processes change tasks, too, with clocks of their own. `lease` is
    /// the duration of the leases of workers.
    pub(crate) fn new(
        tasks: Tasks,
        verifier: TokenVerifier,
        clock: Arc<dyn Clock>,
        streams: StreamConfig,
        has_other_writers: bool,
        lease: SignedDuration,
        default_kind: Option<String>,
    ) -> Self {
        let (live_tasks, verifying) = (tasks.clone(), verifier.clone());
        let live =
            LiveEvents::new(live_tasks, verifying, clock.clone(), streams, has_other_writers);
        let remote = RemoteWorkers::new(tasks.clone(), clock.clone(), lease);
        let kinds = KnownKinds::default();
        Self(Arc::new(Shared { tasks, verifier, live, kinds, remote, default_kind, clock }))
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<Api> for TokenVerifier {
    fn from_ref(api: &Api) -> Self {
        api.verifier.clone()
    }
}
