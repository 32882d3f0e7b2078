//! Whether what a process depends on works, asked for real.

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

/// How long an answer is good for: probes must not become a load.
const FRESH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);

type Answer = Pin<Box<dyn Future<Output = anyhow::Result<Condition>> + Send>>;
type Ask = Arc<dyn Fn() -> Answer + Send + Sync>;

/// The checks of a process. Cheap to clone; everything that can fail adds its own.
#[derive(Clone, Default)]
pub struct Health(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_starting: AtomicBool,
    checks: Mutex<Vec<(&'static str, Ask)>>,
    /// What was logged of those that don't work, so that probes don't fill the log.
    said: Mutex<HashMap<&'static str, String>>,
    /// Held while asking, so that whoever comes meanwhile gets the same answer.
    latest: tokio::sync::Mutex<Option<(Instant, Report)>>,
}

/// What the checks said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst that any check said.
    pub status: Status,
    /// Each by its name.
    pub checks: Vec<Check>,
}

/// What one check said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was asked.
    pub name: &'static str,
    /// What came of it.
    pub status: Status,
}

/// How something is that answers. A check that gives `()` means that it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Healthy,
    /// It works in part, and why not wholly; the process is of use all the same.
    Degraded(String),
}

impl From<()> for Condition {
    fn from((): ()) -> Self {
        Self::Healthy
    }
}

/// How it is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Ok,
    /// It works in part, which is no reason to send requests elsewhere; the log says what
    /// doesn't.
    Degraded,
    /// It doesn't, or didn't answer in time; the log says why.
    Failing,
    /// The process hasn't got so far that it could be asked for anything.
    Starting,
    /// The process has been asked to stop.
    Stopping,
}

impl Health {
    /// No checks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a process that is about to add its checks and to open its listeners, and is not
    /// ready before it has [started](Self::started).
    pub fn starting() -> Self {
        let health = Self::new();
        health.0.is_starting.store(true, Ordering::Relaxed);
        health
    }

    /// Everything that takes requests does so from here on.
    pub fn started(&self) {
        self.0.is_starting.store(false, Ordering::Relaxed);
    }

    /// Adds a check, asked whenever somebody wants to know.
    pub fn add<F, A, C>(&self, name: &'static str, ask: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = anyhow::Result<C>> + Send + 'static,
        C: Into<Condition> + 'static,
    {
        let ask: Ask = Arc::new(move || Box::pin(ask().map_ok(Into::into)));
        self.0.checks.lock().push((name, ask));
    }

    /// Asks all checks, or tells what they said a moment ago.
    pub async fn report(&self) -> Report {
        if self.0.is_starting.load(Ordering::Relaxed) {
            return Report { status: Status::Starting, checks: Vec::new() };
        }
        let mut latest = self.0.latest.lock().await;
        if let Some((at, report)) = &*latest
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let checks = self.0.checks.lock().clone();
        let checks = join_all(checks.into_iter().map(|(name, ask)| self.checked(name, ask))).await;
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
        let report = Report { status, checks };
        *latest = Some((Instant::now(), report.clone()));
        report
    }

    async fn checked(&self, name: &'static str, ask: Ask) -> Check {
        let (status, error) = match tokio::time::timeout(PATIENCE, ask()).await {
            Ok(Ok(Condition::Healthy)) => (Status::Ok, None),
            Ok(Ok(Condition::Degraded(reason))) => (Status::Degraded, Some(reason)),
            Ok(Err(error)) => (Status::Failing, Some(format!("{error:#}"))),
            Err(_) => (Status::Failing, Some("no answer in time".to_owned())),
        };
        self.tell(name, status, error);
        Check { name, status }
    }

    /// Logs what a check said, if that is news.
    fn tell(&self, check: &'static str, status: Status, error: Option<String>) {
        let mut said = self.0.said.lock();
        let Some(error) = error else {
            if said.remove(check).is_some() {
                tracing::info!(check, "ready again");
            }
            return;
        };
        if said.get(check) != Some(&error) {
            let message = if status == Status::Degraded { "ready in part" } else { "not ready" };
            tracing::warn!(check, error, "{message}");
            said.insert(check, error);
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
    async fn checks_are_asked_at_most_once_a_second() {
        let (asked, works) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let health = Health::new();
        assert_eq!(health.report().await.status, Status::Ok);
        tokio::time::advance(FRESH).await;
        health.add("database", {
            let (asked, works) = (asked.clone(), works.clone());
            move || {
                asked.fetch_add(1, Ordering::SeqCst);
                let works = works.load(Ordering::SeqCst);
                async move { if works { Ok(()) } else { anyhow::bail!("gone") } }
            }
        });
        let (one, two) = tokio::join!(health.report(), health.report());
        assert_eq!((one.status, &one), (Status::Ok, &two));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        works.store(false, Ordering::SeqCst);
        assert_eq!(health.report().await.status, Status::Ok);
        tokio::time::advance(FRESH).await;
        let report = health.report().await;
        assert_eq!(report.status, Status::Failing);
        assert_eq!(report.checks, [Check { name: "database", status: Status::Failing }]);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn nobody_is_sent_to_a_process_that_is_starting() {
        let health = Health::starting();
        assert_eq!(health.report().await.status, Status::Starting);
        health.started();
        assert_eq!(health.report().await.status, Status::Ok);
    }

    #[tokio::test]
    async fn the_worst_counts() {
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
    async fn a_check_that_hangs_fails_and_holds_up_nothing_else() {
        let health = Health::new();
        health.add("slow", std::future::pending::<anyhow::Result<()>>);
        health.add("fine", || async { Ok(()) });
        let report = health.report().await;
        let statuses: Vec<Status> = report.checks.iter().map(|check| check.status).collect();
        assert_eq!(statuses, [Status::Failing, Status::Ok]);
    }
}
