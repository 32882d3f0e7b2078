//! Renewal of leases.

use std::collections::HashMap;
use std::time::Duration;

use miniapp_tasks::{Claim, StoreError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::attempt::Stop;
use crate::runner::Runner;

/// Renews all leases together, three times per lease and whenever `now` is notified. The
/// result also contains cancellations whose broadcast was lost.
pub(crate) async fn run(runner: &Runner, now: &Notify) {
    let interval = runner.lease / 3;
    let mut retry = runner.retry("renewing leases");
    let mut wait = interval;
    loop {
        tokio::select! {
            biased;
            () = sleep(wait) => {}
            () = now.notified() => {}
        }
        wait = match renew(runner, interval).await {
            Ok(()) => {
                retry.recovered();
                interval
            }
            Err(error) => retry.failed(&error).min(interval),
        };
    }
}

async fn renew(runner: &Runner, limit: Duration) -> Result<(), StoreError> {
    let attempts = runner.running.all();
    if attempts.is_empty() {
        return Ok(());
    }
    let claims: Vec<Claim> = attempts.iter().map(|attempt| attempt.claim).collect();
    let until = Instant::now() + runner.lease;
    let renewed = timeout(limit, runner.tasks.renew(&claims, runner.lease())).await;
    let renewed = renewed.unwrap_or_else(|_| Err(StoreError::Unavailable("no response".into())));
    let renewed: HashMap<Claim, bool> = match renewed {
        Ok(renewed) => renewed.iter().map(|one| (one.claim, one.cancel_requested)).collect(),
        Err(error) => return Err(error),
    };
    for attempt in attempts {
        match renewed.get(&attempt.claim) {
            None => attempt.stop(Stop::LeaseLost),
            Some(cancel_requested) => {
                attempt.renew(until);
                if *cancel_requested {
                    attempt.stop(Stop::Canceled);
                }
            }
        }
    }
    Ok(())
}
