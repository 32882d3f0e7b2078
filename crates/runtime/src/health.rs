//! Health checks of the dependencies of a process.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// How long a report is reused, so that probes are no load.
const CACHE_TTL: Duration = Duration::from_secs(1);
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type CheckFuture = Pin<Box<dyn Future<Output = anyhow::Result<Condition>> + Send>>;
type CheckFn = Arc<dyn Fn() -> CheckFuture + Send + Sync>;

/// The health checks of a process, to which each component adds its own. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_starting: AtomicBool,
    checks: Mutex<Vec<(&'static str, CheckFn)>>,
    /// The logged errors, so that probes do not repeat them.
    logged: Mutex<HashMap<&'static str, String>>,
    /// Locked during the checks, so that concurrent requests share a report.
    latest: tokio::sync::Mutex<Option<(Instant, Report)>>,
}

/// The result of all checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst status of a check.
    pub status: Status,
    pub checks: Vec<Check>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
}

/// The condition of a dependency that responds. A check may return `()` for a healthy one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Healthy,
    /// It works in part, with the reason. The process stays ready.
    Degraded(String),
}

impl From<()> for Condition {
    fn from((): ()) -> Self {
        Self::Healthy
    }
}

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It works in part; the log has the reason. The process stays ready.
    Degraded,
    /// It failed or timed out; the log has the reason.
    Failing,
    /// The process is not ready yet.
    Starting,
    /// The process is shutting down.
    Stopping,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the checks of a process that is not ready before [`started`](Self::started).
    pub fn starting() -> Self {
        let health = Self::new();
        health.0.is_starting.store(true, Ordering::Relaxed);
        health
    }

    /// Marks the process as started: all its listeners are open.
    pub fn started(&self) {
        self.0.is_starting.store(false, Ordering::Relaxed);
    }

    /// Adds a check, which runs for each report.
    pub fn add<F, A, C>(&self, name: &'static str, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = anyhow::Result<C>> + Send + 'static,
        C: Into<Condition> + 'static,
    {
        let check: CheckFn = Arc::new(move || Box::pin(check().map_ok(Into::into)));
        self.0.checks.lock().push((name, check));
    }

    /// Runs all checks, or returns a report of the last second.
    pub async fn report(&self) -> Report {
        if self.0.is_starting.load(Ordering::Relaxed) {
            return Report { status: Status::Starting, checks: Vec::new() };
        }
        let mut latest = self.0.latest.lock().await;
        if let Some((at, report)) = &*latest
            && at.elapsed() < CACHE_TTL
        {
            return report.clone();
        }
        let checks = self.0.checks.lock().clone();
        let checks =
            join_all(checks.into_iter().map(|(name, check)| self.run_check(name, check))).await;
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
        let report = Report { status, checks };
        *latest = Some((Instant::now(), report.clone()));
        report
    }

    async fn run_check(&self, name: &'static str, check: CheckFn) -> Check {
        let (status, error) = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
            Ok(Ok(Condition::Healthy)) => (Status::Ok, None),
            Ok(Ok(Condition::Degraded(reason))) => (Status::Degraded, Some(reason)),
            Ok(Err(error)) => (Status::Failing, Some(format!("{error:#}"))),
            Err(_) => (Status::Failing, Some("timed out".to_owned())),
        };
        self.log_change(name, status, error);
        Check { name, status }
    }

    /// Logs the status of a check if it has changed.
    fn log_change(&self, check: &'static str, status: Status, error: Option<String>) {
        let mut logged = self.0.logged.lock();
        let Some(error) = error else {
            if logged.remove(check).is_some() {
                tracing::info!(check, "ready again");
            }
            return;
        };
        if logged.get(check) != Some(&error) {
            let message = if status == Status::Degraded { "ready in part" } else { "not ready" };
            tracing::warn!(check, error, "{message}");
            logged.insert(check, error);
        }
    }
}

impl Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.checks.lock().iter().map(|(name, _)| *name).collect();
        f.debug_tuple("Health").field(&names).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn checks_run_at_most_once_a_second() {
        let (runs, works) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let health = Health::new();
        assert_eq!(health.report().await.status, Status::Ok);
        tokio::time::advance(CACHE_TTL).await;
        health.add("database", {
            let (runs, works) = (runs.clone(), works.clone());
            move || {
                runs.fetch_add(1, Ordering::SeqCst);
                let works = works.load(Ordering::SeqCst);
                async move { if works { Ok(()) } else { anyhow::bail!("gone") } }
            }
        });
        let (one, two) = tokio::join!(health.report(), health.report());
        assert_eq!((one.status, &one), (Status::Ok, &two));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        works.store(false, Ordering::SeqCst);
        assert_eq!(health.report().await.status, Status::Ok);
        tokio::time::advance(CACHE_TTL).await;
        let report = health.report().await;
        assert_eq!(report.status, Status::Failing);
        assert_eq!(report.checks, [Check { name: "database", status: Status::Failing }]);
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn starting_process_is_not_ready() {
        let health = Health::starting();
        assert_eq!(health.report().await.status, Status::Starting);
        health.started();
        assert_eq!(health.report().await.status, Status::Ok);
    }

    #[tokio::test]
    async fn report_uses_worst_status() {
        let health = Health::new();
        health.add("fine", || async { Ok(()) });
        health.add("full", || async { Ok(Condition::Degraded("no room".to_owned())) });
        let report = health.report().await;
        let statuses: Vec<Status> = report.checks.iter().map(|check| check.status).collect();
        assert_eq!(
            (report.status, statuses),
            (Status::Degraded, vec![Status::Ok, Status::Degraded])
        );
        let health = Health::new();
        health.add("full", || async { Ok(Condition::Degraded("no room".to_owned())) });
        health.add("gone", || async { anyhow::Result::<()>::Err(anyhow::anyhow!("gone")) });
        assert_eq!(health.report().await.status, Status::Failing);
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_check_fails_alone() {
        let health = Health::new();
        health.add("slow", std::future::pending::<anyhow::Result<()>>);
        health.add("fine", || async { Ok(()) });
        let report = health.report().await;
        let statuses: Vec<Status> = report.checks.iter().map(|check| check.status).collect();
        assert_eq!(statuses, [Status::Failing, Status::Ok]);
    }
}
