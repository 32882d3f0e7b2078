//! Renews the claims of a worker.

use std::time::Duration;

use miniapp_runtime::retry::RetryLogger;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::worker::HeartbeatRequest;
use tokio::time::{Instant, sleep};

use super::attempt::{Attempts, Stop};
use super::{CommandWorker, Fatal};

/// How often due heartbeats are searched.
const TICK: Duration = Duration::from_millis(250);
/// The maximum number of claims of a call.
const MAX_CLAIMS: usize = 1000;

/// Renews the claims until this is dropped.
pub(super) async fn run(
    worker: &CommandWorker,
    attempts: &Attempts,
    fatal: &Fatal,
    shutdown: &Shutdown,
) {
    let mut retry_log = RetryLogger::new("renewing claims");
    loop {
        sleep(TICK).await;
        let now = Instant::now();
        let due = attempts.all().into_iter().filter_map(|one| Some((one.due_heartbeat(now)?, one)));
        let due: Vec<_> = due.collect();
        for chunk in due.chunks(MAX_CLAIMS) {
            let claims = chunk.iter().map(|(heartbeat, _)| heartbeat.clone()).collect();
            let request = HeartbeatRequest { worker: worker.name.clone(), claims };
            match worker.client.renew_claims(&request).await {
                Ok(renewed) => {
                    retry_log.recovered();
                    for ((_, attempt), renewed) in chunk.iter().zip(renewed.claims) {
                        attempt.renewed(now);
                        if let Some(reason) = renewed.stop {
                            attempt.stop(reason.into());
                        }
                    }
                }
                Err(error) => {
                    retry_log.failed(&error);
                    fatal.is_temporary(error, shutdown);
                    let lost = chunk.iter().filter(|(_, attempt)| attempt.is_overdue());
                    lost.for_each(|(_, attempt)| attempt.stop(Stop::Lost));
                }
            }
        }
    }
}
