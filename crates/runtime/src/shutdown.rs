//! Graceful shutdown in two steps.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The shutdown of a process or of a part of it. After it has begun, no work is accepted and
/// running work is finished. After it is aborted, everything is dropped.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins with the first SIGINT or SIGTERM, aborts with the second. Must be called within
    /// a runtime.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let signaled = shutdown.clone();
        tokio::spawn(async move {
            let name = next_signal(&mut interrupt, &mut terminate).await;
            tracing::info!(signal = name, "stopping; a second signal aborts");
            signaled.begin();
            let name = next_signal(&mut interrupt, &mut terminate).await;
            tracing::warn!(signal = name, "aborting");
            signaled.abort();
        });
        Ok(shutdown)
    }

    pub fn begin(&self) {
        self.soft.cancel();
    }

    pub fn abort(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Waits until the shutdown begins.
    pub fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.soft.cancelled()
    }

    /// Waits until the shutdown is aborted.
    pub fn aborted(&self) -> WaitForCancellationFuture<'_> {
        self.hard.cancelled()
    }

    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Returns a token that is cancelled when the shutdown begins.
    pub fn token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Returns a token that is cancelled when the shutdown is aborted.
    pub fn hard_token(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Returns the shutdown of a part: it follows this one, and can begin by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { soft: self.soft.child_token(), hard: self.hard.child_token() }
    }
}

async fn next_signal(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_has_two_steps() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.has_begun());
        shutdown.begin();
        shutdown.begun().await;
        assert!(shutdown.has_begun() && !shutdown.hard_token().is_cancelled());
        shutdown.abort();
        shutdown.aborted().await;
    }

    #[tokio::test]
    async fn child_follows_parent_only() {
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
