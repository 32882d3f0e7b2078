//! Keeping what the worker runs its own.

use std::collections::HashMap;
use std::time::Duration;

use miniapp_tasks::{Claim, StoreError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::attempt::Stop;
use crate::runner::Runner;

/// Renews all leases together, three times in the time of one and whenever `now` says so.
/// The answers also tell of cancels whose broadcast got lost.
pub(crate) async fn run(runner: &Runner, now: &Notify) {
    let pause = runner.lease / 3;
    let mut retry = runner.retries("renewing leases");
    let mut wait = pause;
    loop {
        tokio::select! {
            biased;
            () = sleep(wait) => {}
            () = now.notified() => {}
        }
        wait = match renew(runner, pause).await {
            Ok(()) => {
                retry.recovered();
                pause
            }
            Err(error) => retry.failed(&error).min(pause),
        };
    }
}

async fn renew(runner: &Runner, patience: Duration) -> Result<(), StoreError> {
    let attempts = runner.running.all();
    if attempts.is_empty() {
        return Ok(());
    }
    let claims: Vec<Claim> = attempts.iter().map(|attempt| attempt.claim).collect();
    let until = Instant::now() + runner.lease;
    let answer = timeout(patience, runner.tasks.renew(&claims, runner.lease())).await;
    let answer = answer.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer".into())));
    let renewed: HashMap<Claim, bool> = match answer {
        Ok(renewed) => renewed.iter().map(|one| (one.claim, one.cancel_requested)).collect(),
        Err(error) => return Err(error),
    };
    for attempt in attempts {
        match renewed.get(&attempt.claim) {
            None => attempt.stop(Stop::LeaseLost),
            Some(cancel_requested) => {
                attempt.renewed(until);
                if *cancel_requested {
                    attempt.stop(Stop::Canceled);
                }
            }
        }
    }
    Ok(())
}
