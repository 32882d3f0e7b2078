//! The readiness check of the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use miniapp_runtime::health::{Condition, Health};
use tokio::time::timeout;

use crate::{Broker, BrokerError};

/// Shorter than the timeout of the check itself.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds a readiness check for `broker`. A broker outage only delays work, so it degrades a
/// process without making it unready. A broker that was never reached may be misconfigured
/// and keeps the process unready.
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
    let timed_out = || BrokerError::Unavailable("no response".to_owned());
    match timeout(PING_TIMEOUT, broker.ping()).await.unwrap_or_else(|_| Err(timed_out())) {
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
    async fn broker_outage_degrades_only_after_the_first_success() {
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
