//! Whether what a process depends on works, asked for real.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// How long an answer is good for: probes must not become a load.
const FRESH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);

type Answer = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
type Ask = Arc<dyn Fn() -> Answer + Send + Sync>;

/// The checks of a process. Cheap to clone; everything that can fail adds its own.
#[derive(Clone, Default)]
pub struct Health(Arc<Shared>);

#[derive(Default)]
struct Shared {
    checks: Mutex<Vec<(&'static str, Ask)>>,
    /// Held while asking, so that whoever comes meanwhile gets the same answer.
    latest: tokio::sync::Mutex<Option<(Instant, Report)>>,
}

/// What the checks said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `ok`, or `failing` if any check is.
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

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Ok,
    /// It doesn't, or didn't answer in time; the log says why.
    Failing,
    /// The process has been asked to stop.
    Stopping,
}

impl Health {
    /// No checks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, asked whenever somebody wants to know.
    pub fn add<F, A>(&self, name: &'static str, ask: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.0.checks.lock().push((name, Arc::new(move || Box::pin(ask()))));
    }

    /// Asks all checks, or tells what they said a moment ago.
    pub async fn report(&self) -> Report {
        let mut latest = self.0.latest.lock().await;
        if let Some((at, report)) = &*latest
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let checks = self.0.checks.lock().clone();
        let checks = join_all(checks.into_iter().map(|(name, ask)| checked(name, ask))).await;
        let is_ok = checks.iter().all(|check| check.status == Status::Ok);
        let status = if is_ok { Status::Ok } else { Status::Failing };
        let report = Report { status, checks };
        *latest = Some((Instant::now(), report.clone()));
        report
    }
}

async fn checked(name: &'static str, ask: Ask) -> Check {
    let fault = match tokio::time::timeout(PATIENCE, ask()).await {
        Ok(Ok(())) => return Check { name, status: Status::Ok },
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(check = name, error = fault, "not ready");
    Check { name, status: Status::Failing }
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

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_fails_and_holds_up_nothing_else() {
        let health = Health::new();
        health.add("slow", std::future::pending);
        health.add("fine", || async { Ok(()) });
        let report = health.report().await;
        let statuses: Vec<Status> = report.checks.iter().map(|check| check.status).collect();
        assert_eq!(statuses, [Status::Failing, Status::Ok]);
    }
}
