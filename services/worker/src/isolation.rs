//! Runs a suspect alone in this process.
//!
//! A suspect is a task that lost its workers several times and may be what kills them. It starts
//! while nothing else runs, so that it harms no other task, and so that a further loss is
//! evidence against it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{
    Mutex as AsyncMutex, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock,
    watch,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, Stop};

/// How long a suspect waits for another one of its process before it is left to others.
const SUSPECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Lets one suspect at a time run alone. Clones share it; the workers of a process need the same.
#[derive(Clone, Debug, Default)]
pub struct Isolation(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Held by the suspect of this process until its attempt ends.
    suspect: Arc<AsyncMutex<()>>,
    /// Read by tasks that run beside others, written by one that runs alone.
    turns: Arc<RwLock<()>>,
    /// Canceled to stop the tasks that run beside others.
    displaced: Mutex<CancellationToken>,
    /// Whether a suspect runs alone or waits for the others to end.
    is_isolating: watch::Sender<bool>,
}

/// The permission to run an attempt beside others, or alone.
#[derive(Debug)]
pub(crate) struct Turn {
    beside: Option<OwnedRwLockReadGuard<()>>,
    alone: Option<(OwnedRwLockWriteGuard<()>, IsolatingGuard)>,
    displaced: CancellationToken,
    _suspect: Option<OwnedMutexGuard<()>>,
}

/// Resets `is_isolating`.
#[derive(Debug)]
struct IsolatingGuard(Arc<State>);

impl Drop for IsolatingGuard {
    fn drop(&mut self) {
        self.0.is_isolating.send_replace(false);
    }
}

impl Isolation {
    /// Waits for a turn beside other tasks.
    pub(crate) async fn share(&self) -> Turn {
        let turn = self.0.turns.clone().read_owned().await;
        let displaced = self.0.displaced.lock().clone();
        Turn { beside: Some(turn), alone: None, displaced, _suspect: None }
    }

    /// Waits for a turn alone. The tasks that run have `grace` to finish, as at a shutdown; then
    /// they are stopped and released. Returns `None` if another suspect of this process does not
    /// end soon.
    pub(crate) async fn alone(&self, grace: Duration) -> Option<Turn> {
        let suspect = timeout(SUSPECT_TIMEOUT, self.0.suspect.clone().lock_owned()).await.ok()?;
        self.0.is_isolating.send_replace(true);
        let isolating = IsolatingGuard(self.0.clone());
        // From its first poll on, nobody else gets a turn.
        let mut turn = pin!(self.0.turns.clone().write_owned());
        let turn = if let Ok(turn) = timeout(grace, &mut turn).await {
            turn
        } else {
            std::mem::take(&mut *self.0.displaced.lock()).cancel();
            turn.await
        };
        let alone = Some((turn, isolating));
        // Other suspects wait for this one, so that they do not displace each other forever.
        let displaced = CancellationToken::new();
        Some(Turn { beside: None, alone, displaced, _suspect: Some(suspect) })
    }

    /// Waits until a suspect runs alone or waits for the others to end.
    pub(crate) async fn begun(&self) {
        let _ = self.0.is_isolating.subscribe().wait_for(|is_isolating| *is_isolating).await;
    }

    /// Waits until tasks may run beside others.
    pub(crate) async fn ended(&self) {
        let _ = self.0.is_isolating.subscribe().wait_for(|is_isolating| !is_isolating).await;
    }
}

impl Turn {
    /// Runs `attempt` as `run`. Stops it if a suspect has to run alone. A turn alone lets others
    /// start after `isolation`.
    pub async fn run<T>(
        &mut self,
        isolation: Duration,
        attempt: &Attempt,
        run: impl Future<Output = T>,
    ) -> T {
        let mut run = pin!(run);
        if self.alone.is_some() {
            tokio::select! {
                biased;
                output = &mut run => return output,
                () = sleep(isolation) => {}
            }
            self.beside = self.alone.take().map(|(turn, _)| turn.downgrade());
        }
        tokio::select! {
            biased;
            output = &mut run => return output,
            () = self.displaced.cancelled() => attempt.stop(Stop::Displaced),
        }
        run.await
    }
}

#[cfg(test)]
mod tests {
    use miniapp_tasks::Claim;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const MINUTE: Duration = Duration::from_mins(1);

    fn attempt() -> Attempt {
        let claim = Claim { task_id: Uuid::nil(), token: 1 };
        Attempt::new(claim, 1, MINUTE, 0, Instant::now() + MINUTE)
    }

    #[tokio::test(start_paused = true)]
    async fn others_finish_before_a_suspect_starts() {
        let isolation = Isolation::default();
        let other = isolation.share().await;
        let started = Instant::now();
        let (alone, ()) = tokio::join!(isolation.alone(GRACE), async {
            sleep(GRACE / 2).await;
            assert!(timeout(GRACE / 4, isolation.share()).await.is_err(), "a task starts");
            drop(other);
        });
        let alone = alone.expect("a turn");
        assert_eq!(started.elapsed(), GRACE / 2 + GRACE / 4);
        assert!(timeout(MINUTE, isolation.share()).await.is_err(), "a task starts beside");
        drop(alone);
        isolation.ended().await;
        isolation.share().await;
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_stopped_after_the_grace_period() {
        let isolation = Isolation::default();
        let (mut turn, other) = (isolation.share().await, attempt());
        let started = Instant::now();
        tokio::join!(isolation.alone(GRACE), async {
            turn.run(MINUTE, &other, other.stopped()).await;
            drop(turn);
        });
        assert_eq!((other.stop_reason(), started.elapsed()), (Some(Stop::Displaced), GRACE));
        // It does not affect later ones.
        let (mut turn, later) = (isolation.share().await, attempt());
        turn.run(MINUTE, &later, sleep(MINUTE)).await;
        assert_eq!(later.stop_reason(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn others_start_after_the_isolation_but_suspects_wait() {
        let isolation = Isolation::default();
        let (mut turn, suspect) = (isolation.alone(GRACE).await.expect("a turn"), attempt());
        let started = Instant::now();
        let run = async {
            turn.run(MINUTE, &suspect, sleep(3 * MINUTE)).await;
            drop(turn);
        };
        let other = async {
            isolation.begun().await;
            drop(isolation.share().await);
            assert_eq!(started.elapsed(), MINUTE);
        };
        let next = async {
            assert!(isolation.alone(GRACE).await.is_none(), "two suspects");
            assert_eq!(started.elapsed(), SUSPECT_TIMEOUT);
            sleep((3 * MINUTE).saturating_sub(SUSPECT_TIMEOUT * 3 / 2)).await;
            assert!(isolation.alone(GRACE).await.is_some());
            assert_eq!(started.elapsed(), 3 * MINUTE);
        };
        tokio::join!(run, other, next);
        assert_eq!(suspect.stop_reason(), None);
    }
}
