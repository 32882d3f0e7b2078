//! Expires the leases of workers that are gone.
//!
//! A lease ends at a time of the clock. Clocks are set forward and back, and they go on while a
//! process, a virtual machine or a laptop is suspended; workers that are alive renew their
//! leases by a monotonic clock. So the reaper trusts the clock only while it agrees with its own
//! monotonic one. After a step, a pause or an unavailable store, it waits one lease, measured by
//! the monotonic clock: a lease that was not renewed in that time has no worker.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock_step::{Elapsed, StepDetector};
use miniapp_runtime::retry::RetryLogger;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::domain::Command;
use crate::engine::ExpiredLease;
use crate::error::Error;
use crate::metrics::COUNTERS;
use crate::relay::OVERDUE;
use crate::spans::record_lost_attempt;
use crate::tasks::Tasks;

/// Interval of the search for expired leases.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of leases per search.
const LIMIT: u32 = 5000;
/// Number of expired leases handled together.
const BATCH_SIZE: usize = 500;
/// Larger differences between the clocks are steps, unless the lease is short.
const TOLERANCE: Duration = Duration::from_secs(1);

/// The reaper of a process.
pub(crate) struct Reaper {
    tasks: Tasks,
    /// The duration of a lease.
    lease: Duration,
    clock: ClockWatch,
    /// The leases that the last search returned.
    overdue: HashMap<Uuid, Overdue>,
}

/// A lease that seems to have expired.
struct Overdue {
    /// The version of its task. Each renewal increments it.
    version: u64,
    /// When it was first seen with this version.
    since: Instant,
}

impl Reaper {
    pub fn new(tasks: Tasks, lease: Duration) -> Self {
        Self { tasks, lease, clock: ClockWatch::new(lease), overdue: HashMap::new() }
    }

    pub async fn run(mut self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry_log = RetryLogger::new("reaping expired leases");
        loop {
            ticks.tick().await;
            match self.reap().await {
                Ok(()) => retry_log.recovered(),
                Err(error) => {
                    // Workers may not have reached the store either.
                    self.clock.disturb(Instant::now());
                    retry_log.failed(&error);
                }
            }
        }
    }

    async fn reap(&mut self) -> Result<(), Error> {
        let (at, now) = (Instant::now(), self.tasks.clock().now());
        self.clock.observe(at, now);
        if let Some(by) = self.clock.set_back {
            let count = self.tasks.engine().restart_waits(now, by, OVERDUE).await?;
            self.clock.set_back = None;
            if count > 0 {
                tracing::warn!(count, "the clock was set back; restarted the waits of tasks");
            }
        }
        let lease = SignedDuration::try_from(self.lease + TOLERANCE).unwrap_or(SignedDuration::MAX);
        let latest = now.saturating_add(lease).unwrap_or(Timestamp::MAX);
        loop {
            let found = self.tasks.engine().expired_leases(now, latest, LIMIT).await?;
            let is_complete = found.len() < LIMIT as usize;
            let expired = self.confirm(found, at, now);
            let count = expired.len();
            for batch in expired.chunks(BATCH_SIZE) {
                expire(&self.tasks, batch).await?;
            }
            if is_complete || count == 0 {
                return Ok(());
            }
        }
    }

    /// Returns those of `found` whose worker is gone.
    fn confirm(
        &mut self,
        found: Vec<ExpiredLease>,
        at: Instant,
        now: Timestamp,
    ) -> Vec<ExpiredLease> {
        let is_steady = self.clock.is_steady(at);
        let mut seen = HashMap::with_capacity(found.len());
        let mut expired = found;
        expired.retain(|lease| {
            let known = self.overdue.remove(&lease.task_id);
            let known = known.filter(|known| known.version == lease.version);
            let overdue = known.unwrap_or(Overdue { version: lease.version, since: at });
            let is_silent = at.duration_since(overdue.since) >= self.lease;
            seen.insert(lease.task_id, overdue);
            is_silent || (is_steady && lease.until <= now)
        });
        self.overdue = seen;
        expired
    }
}

/// Expires `leases` unless they were renewed in the meantime.
pub(crate) async fn expire(tasks: &Tasks, leases: &[ExpiredLease]) -> Result<(), Error> {
    let reaped = join_all(leases.iter().map(|&ExpiredLease { task_id, version, .. }| {
        tasks.apply(None, task_id, Command::ExpireLease { version })
    }));
    for result in reaped.await {
        match result {
            Ok(applied) => {
                let task = applied.task;
                COUNTERS.lease_lost(&task);
                record_lost_attempt(&task, tasks.clock());
                tracing::warn!(
                    task.id = %task.id,
                    worker = task.state.worker.as_deref(),
                    status = %task.state.status,
                    lost_leases = task.state.lost_leases,
                    "task lease expired"
                );
            }
            // Renewed, ended or reaped by another process in the meantime.
            Err(Error::Refused(_) | Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Compares the clock with the monotonic one.
struct ClockWatch {
    lease: Duration,
    steps: StepDetector,
    /// The last disturbance, or the start.
    steady_since: Instant,
    /// The clock was set back by this time since the waits were restarted. Zero at the start:
    /// it may have been set back before, by an unknown time.
    set_back: Option<SignedDuration>,
}

impl ClockWatch {
    fn new(lease: Duration) -> Self {
        let set_back = Some(SignedDuration::ZERO);
        Self { lease, steps: StepDetector::default(), steady_since: Instant::now(), set_back }
    }

    /// Whether both clocks have agreed for the duration of a lease.
    fn is_steady(&self, at: Instant) -> bool {
        at.duration_since(self.steady_since) >= self.lease
    }

    fn disturb(&mut self, at: Instant) {
        self.steady_since = at;
    }

    fn observe(&mut self, at: Instant, now: Timestamp) {
        let Some(Elapsed { time, step }) = self.steps.observe(now) else { return };
        let is_step = step.unsigned_abs() > TOLERANCE.min(self.lease / 4);
        if is_step || time > INTERVAL + self.lease / 3 {
            self.disturb(at);
            tracing::info!(
                step = step.as_secs_f64(),
                pause = time.as_secs_f64(),
                "the clock was set or this process was suspended; leases expire after one more \
                 lease"
            );
        }
        if is_step && step.is_negative() {
            let earlier = self.set_back.unwrap_or_default();
            self.set_back = Some(earlier.saturating_add(step.abs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);
    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    /// A watch after `seconds` of agreement, with the time.
    async fn watch(seconds: u64) -> (ClockWatch, Timestamp) {
        let mut watch = ClockWatch::new(LEASE);
        watch.set_back = None;
        let mut now = Timestamp::UNIX_EPOCH;
        watch.observe(Instant::now(), now);
        for _ in 0..seconds {
            tokio::time::advance(INTERVAL).await;
            now += SECOND;
            watch.observe(Instant::now(), now);
        }
        (watch, now)
    }

    #[tokio::test(start_paused = true)]
    async fn clock_is_steady_one_lease_after_the_start() {
        assert!(!watch(14).await.0.is_steady(Instant::now()));
        assert!(watch(15).await.0.is_steady(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn step_forward_and_suspension_are_disturbances() {
        // A suspended machine's monotonic clock stands still.
        let (mut clock, now) = watch(20).await;
        clock.observe(Instant::now(), now + SignedDuration::from_secs(60));
        assert!(!clock.is_steady(Instant::now()));
        assert_eq!(clock.set_back, None);
        // A stopped process's does not.
        let (mut clock, now) = watch(20).await;
        tokio::time::advance(LEASE).await;
        clock.observe(Instant::now(), now + SignedDuration::from_secs(15));
        assert!(!clock.is_steady(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn steps_back_add_up_until_they_are_handled() {
        let (mut clock, now) = watch(20).await;
        let hour = SignedDuration::from_hours(1);
        clock.observe(Instant::now(), now - hour);
        clock.observe(Instant::now(), now - hour - hour);
        assert_eq!(clock.set_back, Some(hour + hour));
        assert!(!clock.is_steady(Instant::now()));
    }
}
