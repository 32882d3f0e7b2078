//! A connection that comes back by itself.
//!
//! The client could recover connections too, but has been seen to hang over it, and
//! keeps what was sent on the old one in ways that are hard to foresee. Here a lost
//! connection is gone with everything on it; another is made, and its users start over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;
use super::backoff::{Backoff, LONGEST, spread};
use super::fault::Fault;
use super::live::Live;
use crate::BrokerError;

/// How it is with the connection.
#[derive(Clone)]
enum State {
    /// Being made; nobody knows yet whether it works.
    Connecting,
    Up(Arc<Live>),
    Down(Arc<Fault>),
}

/// Keeps one connection for one purpose. It ends with this.
pub(super) struct Link {
    state: watch::Receiver<State>,
    _supervisor: AbortOnDropHandle<()>,
}

impl Link {
    /// Connects to `address` from now on.
    pub fn new(address: Address, purpose: &'static str) -> Self {
        let (state, receiver) = watch::channel(State::Connecting);
        let supervisor = tokio::spawn(supervise(address, purpose, state));
        Self { state: receiver, _supervisor: AbortOnDropHandle::new(supervisor) }
    }

    /// The connection. Waits while it is being made, but not where that has just failed.
    pub async fn live(&self) -> Result<Arc<Live>, BrokerError> {
        let mut state = self.state.clone();
        match state.wait_for(|state| !matches!(state, State::Connecting)).await.as_deref() {
            Ok(State::Up(live)) => Ok(Arc::clone(live)),
            Ok(State::Down(fault)) => Err(BrokerError::Unavailable(fault.text.clone())),
            Ok(State::Connecting) | Err(_) => Err(closed()),
        }
    }

    /// The connection, however long it takes to have one.
    pub async fn up(&self) -> Result<Arc<Live>, BrokerError> {
        let mut state = self.state.clone();
        match state.wait_for(|state| matches!(state, State::Up(_))).await.as_deref() {
            Ok(State::Up(live)) => Ok(Arc::clone(live)),
            _ => Err(closed()),
        }
    }
}

/// The runtime is going, and with it whoever could make a connection.
fn closed() -> BrokerError {
    BrokerError::Unavailable("the process is shutting down".into())
}

async fn supervise(address: Address, purpose: &'static str, state: watch::Sender<State>) {
    let mut backoff = Backoff::default();
    let mut said: Option<String> = None;
    loop {
        let fault = match Live::open(&address, purpose).await {
            Ok(live) => {
                let (live, since) = (Arc::new(live), Instant::now());
                let events = live.events();
                state.send_replace(State::Up(Arc::clone(&live)));
                if said.take().is_some() {
                    tracing::info!(server = %address, purpose, "reconnected to RabbitMQ");
                }
                let lost = live.ended(events).await;
                backoff.worked(since);
                tracing::warn!(
                    error = lost.text,
                    purpose,
                    "lost the connection to RabbitMQ; reconnecting"
                );
                said = Some(lost.text);
                state.send_replace(State::Connecting);
                sleep(backoff.next()).await;
                continue;
            }
            Err(fault) => fault,
        };
        if said.as_ref() != Some(&fault.text) {
            tracing::warn!(error = fault.text, purpose, "could not connect to RabbitMQ; retrying");
            said = Some(fault.text.clone());
        }
        let pause = pause_after(&fault, &mut backoff);
        state.send_replace(State::Down(Arc::new(fault)));
        sleep(pause).await;
    }
}

/// Where somebody has to do something first, trying often only fills the server's log.
fn pause_after(fault: &Fault, backoff: &mut Backoff) -> Duration {
    let pause = backoff.next();
    if fault.needs_hands { spread(LONGEST) } else { pause }
}
