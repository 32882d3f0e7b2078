//! Numbers that somebody has to be asked for, such as a store.

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer is good for, however many read the metrics.
const FRESH: Duration = Duration::from_secs(5);
/// Who takes longer isn't waited for: the other numbers are of use too.
const PATIENCE: Duration = Duration::from_secs(2);

type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

static ASKED: Mutex<Vec<Weak<Question>>> = Mutex::new(Vec::new());

struct Question {
    ask: Box<dyn Fn() -> Answer + Send + Sync>,
    /// Held while asking, so that whoever comes meanwhile gets the same answer.
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

/// As long as this lives, its numbers are asked for.
pub struct CollectorGuard(#[expect(dead_code, reason = "its end is what counts")] Arc<Question>);

impl Debug for CollectorGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorGuard").finish_non_exhaustive()
    }
}

/// Has `ask` set some gauges whenever the metrics are read, every few seconds at most. Where
/// there is no answer it has to take them away: old numbers would pass for new ones.
pub fn register_collector<F>(collect: impl Fn() -> F + Send + Sync + 'static) -> CollectorGuard
where
    F: Future<Output = ()> + Send + 'static,
{
    let ask = Box::new(move || -> Answer { Box::pin(collect()) });
    let question = Arc::new(Question { ask, asked_at: tokio::sync::Mutex::default() });
    ASKED.lock().push(Arc::downgrade(&question));
    CollectorGuard(question)
}

/// Asks for everything that is too old.
pub(super) async fn refresh() {
    let questions: Vec<Arc<Question>> = {
        let mut asked = ASKED.lock();
        asked.retain(|question| question.strong_count() > 0);
        asked.iter().filter_map(Weak::upgrade).collect()
    };
    join_all(questions.iter().map(|question| question.refresh())).await;
}

impl Question {
    async fn refresh(&self) {
        let mut asked_at = self.asked_at.lock().await;
        if asked_at.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        if timeout(PATIENCE, (self.ask)()).await.is_err() {
            tracing::debug!("some numbers could not be had in time");
        }
        *asked_at = Some(Instant::now());
    }
}
