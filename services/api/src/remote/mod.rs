//! Workers over HTTP: claims, heartbeats and outcomes.
//!
//! The service consumes the work queues on behalf of the claim calls that wait. What a worker holds
//! is in the store; what is kept here only saves reading it. So any replica can answer a call, and
//! a claim survives the replica that granted it.

mod claims;
mod demand;
mod dispatcher;
mod grants;
mod heartbeats;
mod held;
mod isolation;
mod outcomes;
mod polls;
mod registry;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::SignedDuration;
use miniapp_broker::Broker;
use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::Tasks;
use parking_lot::Mutex;

use self::held::HeldClaims;
use self::isolation::IsolatedWorkers;
use self::outcomes::AcceptedOutcomes;
use self::polls::Polls;
use self::registry::Registry;

pub(crate) use self::claims::describe;

/// What the platform knows about the workers over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct RemoteWorkers(Arc<Shared>);

struct Shared {
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    /// The duration of a lease.
    lease: SignedDuration,
    polls: Polls,
    /// Held while tasks are assigned to calls.
    assigning: Mutex<()>,
    held: HeldClaims,
    isolated: IsolatedWorkers,
    accepted: AcceptedOutcomes,
    registry: Registry,
}

impl RemoteWorkers {
    pub(crate) fn new(tasks: Tasks, clock: Arc<dyn Clock>, lease: SignedDuration) -> Self {
        Self(Arc::new(Shared {
            tasks,
            clock,
            lease,
            polls: Polls::default(),
            assigning: Mutex::default(),
            held: HeldClaims::default(),
            isolated: IsolatedWorkers::default(),
            accepted: AcceptedOutcomes::default(),
            registry: Registry::default(),
        }))
    }

    /// Offers the tasks of the work queues to waiting calls. At the shutdown, it answers them.
    pub(crate) async fn run(&self, broker: &Arc<dyn Broker>, shutdown: &Shutdown) {
        dispatcher::run(&self.0, broker, shutdown).await;
        self.0.polls.close();
    }
}
