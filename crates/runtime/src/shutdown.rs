//! When to stop: first gently, then at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The two steps of stopping, shared by everything that runs in a process. After the
/// first nothing new is taken and running work is finished; after the second all is
/// dropped.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// Nobody has asked to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first SIGINT or SIGTERM begins, a second one aborts. Must be called within
    /// a runtime.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let told = shutdown.clone();
        tokio::spawn(async move {
            let name = either(&mut interrupt, &mut terminate).await;
            tracing::info!(signal = name, "stopping; once more stops at once");
            told.begin();
            let name = either(&mut interrupt, &mut terminate).await;
            tracing::warn!(signal = name, "stopping at once");
            told.abort();
        });
        Ok(shutdown)
    }

    /// Asks everything to end what it is doing.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Asks everything to drop what it is doing.
    pub fn abort(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Waits until stopping has begun.
    pub fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.soft.cancelled()
    }

    /// Waits until all is to be dropped.
    pub fn aborted(&self) -> WaitForCancellationFuture<'_> {
        self.hard.cancelled()
    }

    /// Whether stopping has begun.
    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Cancelled when stopping begins.
    pub fn token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when all is to be dropped.
    pub fn hard_token(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// A shutdown of a part: it follows this one, and can be stopped by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { soft: self.soft.child_token(), hard: self.hard.child_token() }
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_has_two_steps() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.has_begun());
        shutdown.begin();
        shutdown.begun().await;
        assert!(shutdown.has_begun() && !shutdown.hard_token().is_cancelled());
        shutdown.abort();
        shutdown.aborted().await;
    }

    #[tokio::test]
    async fn a_part_follows_the_whole_and_not_the_other_way() {
        let whole = Shutdown::new();
        let part = whole.child();
        part.abort();
        assert!(part.has_begun() && !whole.has_begun());
        let part = whole.child();
        whole.begin();
        part.begun().await;
        assert!(!part.hard_token().is_cancelled());
    }
}
