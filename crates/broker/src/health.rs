//! How the broker is, for whoever asks a process whether it is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use miniapp_runtime::health::{Condition, Health};
use tokio::time::timeout;

use crate::{Broker, BrokerError};

/// How long the broker may take to answer: less than the check may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Adds a check of `broker`. A broker that is away delays work, which is no reason to send
/// requests elsewhere; but one that was never reached may be the wrong one.
pub fn add(health: &Health, broker: Arc<dyn Broker>) {
    let was_reached = Arc::new(AtomicBool::new(false));
    health.add("broker", move || {
        let (broker, was_reached) = (Arc::clone(&broker), Arc::clone(&was_reached));
        async move { Ok(condition(&*broker, &was_reached).await?) }
    });
}

async fn condition(
    broker: &dyn Broker,
    was_reached: &AtomicBool,
) -> Result<Condition, BrokerError> {
    let silent = || BrokerError::Unavailable("it doesn't answer".to_owned());
    match timeout(PATIENCE, broker.ping()).await.unwrap_or_else(|_| Err(silent())) {
        Ok(()) => {
            was_reached.store(true, Ordering::Relaxed);
            Ok(Condition::Healthy)
        }
        Err(error) if was_reached.load(Ordering::Relaxed) => {
            Ok(Condition::Degraded(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryBroker;

    #[tokio::test]
    async fn only_a_broker_that_was_never_reached_keeps_a_process_from_being_ready() {
        let (broker, was_reached) = (MemoryBroker::new(), AtomicBool::new(false));
        let condition = async || condition(&broker, &was_reached).await;
        broker.pause();
        assert!(condition().await.is_err());
        broker.resume();
        assert_eq!(condition().await.ok(), Some(Condition::Healthy));
        broker.pause();
        assert!(matches!(condition().await, Ok(Condition::Degraded(_))));
        broker.resume();
        assert_eq!(condition().await.ok(), Some(Condition::Healthy));
    }
}
