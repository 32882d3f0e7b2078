//! A connection that is re-established when it is lost.
//!
//! lapin can recover connections itself, but its recovery has been seen to hang, and which
//! frames of the old connection it resends is hard to predict. Here a lost connection is
//! discarded with its channels; a new one is opened and its users start over.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;
use super::connection::LiveConnection;
use super::error::ConnectionError;
use super::reconnect::ReconnectDelay;
use super::topology::Topology;
use crate::BrokerError;

#[derive(Clone)]
enum State {
    /// The first attempt, or the first one after a loss, is running.
    Connecting,
    Connected(Arc<LiveConnection>),
    Failed(Arc<ConnectionError>),
}

/// Keeps one connection open until it is dropped.
pub(super) struct Supervisor {
    state: watch::Receiver<State>,
    _task: AbortOnDropHandle<()>,
}

impl Supervisor {
    /// Starts connecting to `address`. `purpose` is part of the connection's name in the
    /// server and in logs.
    pub fn new(address: Address, topology: Arc<Topology>, purpose: &'static str) -> Self {
        let (state, receiver) = watch::channel(State::Connecting);
        let task = tokio::spawn(supervise(address, topology, purpose, state));
        Self { state: receiver, _task: AbortOnDropHandle::new(task) }
    }

    /// Returns the connection. Waits for an attempt that is running, and fails if the last
    /// one has failed.
    pub async fn connection(&self) -> Result<Arc<LiveConnection>, BrokerError> {
        let mut state = self.state.clone();
        match state.wait_for(|state| !matches!(state, State::Connecting)).await.as_deref() {
            Ok(State::Connected(live)) => Ok(Arc::clone(live)),
            Ok(State::Failed(error)) => Err(BrokerError::Unavailable(error.text.clone())),
            Ok(State::Connecting) | Err(_) => Err(shutting_down()),
        }
    }

    /// Waits until there is a connection. Fails only when the runtime shuts down.
    pub async fn wait_connected(&self) -> Result<Arc<LiveConnection>, BrokerError> {
        let mut state = self.state.clone();
        match state.wait_for(|state| matches!(state, State::Connected(_))).await.as_deref() {
            Ok(State::Connected(live)) => Ok(Arc::clone(live)),
            _ => Err(shutting_down()),
        }
    }
}

fn shutting_down() -> BrokerError {
    BrokerError::Unavailable("the process is shutting down".into())
}

async fn supervise(
    address: Address,
    topology: Arc<Topology>,
    purpose: &'static str,
    state: watch::Sender<State>,
) {
    let mut delay = ReconnectDelay::default();
    let mut logged: Option<String> = None;
    loop {
        let error = match LiveConnection::open(&address, &topology, purpose).await {
            Ok(live) => {
                let (live, connected_at) = (Arc::new(live), Instant::now());
                let events = live.events();
                state.send_replace(State::Connected(Arc::clone(&live)));
                if logged.take().is_some() {
                    tracing::info!(server = %address, purpose, "reconnected to RabbitMQ");
                }
                let lost = live.closed(events).await;
                delay.reset_if_stable(connected_at);
                tracing::warn!(
                    error = lost.text,
                    purpose,
                    "lost the connection to RabbitMQ; reconnecting"
                );
                logged = Some(lost.text);
                state.send_replace(State::Connecting);
                sleep(delay.next()).await;
                continue;
            }
            Err(error) => error,
        };
        if logged.as_ref() != Some(&error.text) {
            tracing::warn!(error = error.text, purpose, "could not connect to RabbitMQ; retrying");
            logged = Some(error.text.clone());
        }
        let next = delay.next();
        // Frequent attempts would only fill the server's log.
        let pause = if error.needs_operator { ReconnectDelay::longest() } else { next };
        state.send_replace(State::Failed(Arc::new(error)));
        sleep(pause).await;
    }
}
