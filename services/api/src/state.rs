//! What every endpoint works with.

use std::ops::Deref;
use std::sync::Arc;

use miniapp_runtime::clock::Clock;
use miniapp_tasks::Tasks;

use crate::kinds::KnownKinds;
use crate::live::Hub;
use crate::token::TokenVerifier;

/// The service, shared by all requests. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// See [`Api`].
pub struct Shared {
    /// The tasks.
    pub tasks: Tasks,
    /// Who may ask.
    pub verifier: TokenVerifier,
    /// Live events.
    pub hub: Arc<Hub>,
    /// What can be submitted.
    pub kinds: KnownKinds,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Other processes change tasks too, by clocks of their own.
    pub has_others: bool,
}

impl Api {
    pub(crate) fn new(
        tasks: Tasks,
        verifier: TokenVerifier,
        clock: Arc<dyn Clock>,
        has_others: bool,
    ) -> Self {
        let (hub, kinds) = (Arc::default(), KnownKinds::default());
        Self(Arc::new(Shared { tasks, verifier, hub, kinds, clock, has_others }))
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
