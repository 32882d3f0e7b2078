//! Whether auth has sent an event.

use std::convert::Infallible;

use miniapp_broker::{Broker, Message};
use miniapp_token::{EventError, SignedEvent, key_of_event};
use tokio::time::sleep;

use super::keys::MIN_FETCH_INTERVAL;
use super::{TokenVerifier, VerifyError};

/// Why an event could not be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VerifyEventError {
    #[error(transparent)]
    Refused(#[from] EventError),
    #[error("auth is unreachable, and the key is unknown")]
    Unavailable,
}

impl TokenVerifier {
    /// Checks that auth has signed the event in a message.
    pub(crate) async fn verify_event<E: SignedEvent>(
        &self,
        message: &Message,
        event: &E,
    ) -> Result<(), VerifyEventError> {
        let kid = key_of_event(event)?;
        let mut found = self.0.keys.find(&kid).await;
        let is_unknown = |found: &Result<_, VerifyError>| {
            found.as_ref().is_err_and(|error| *error == VerifyError::Invalid)
        };
        if is_unknown(&found) && !self.0.unknown_keys.contains_key(&kid) {
            // The key may be newer than the latest fetch. A token is presented again, an event is
            // not.
            sleep(MIN_FETCH_INTERVAL).await;
            found = self.0.keys.find(&kid).await;
            if is_unknown(&found) {
                self.0.unknown_keys.insert(kid, ());
            }
        }
        let key = found.map_err(|error| match error {
            VerifyError::Unavailable => VerifyEventError::Unavailable,
            _ => EventError::UnknownKey.into(),
        })?;
        Ok(key.verify_event(message.id, event)?)
    }

    /// Keeps keys and sessions up to date until it is dropped. Without it, verification is
    /// correct but slow, because every stale session needs an introspection.
    pub async fn run(&self, broker: &dyn Broker) -> Infallible {
        let (keys, sessions) = (&self.0.keys, &self.0.sessions);
        // Does not wait for an unknown key: meanwhile, sessions are introspected.
        let verify = |message: &Message, event: &_| {
            let kid = key_of_event(event)?;
            let Some(key) = keys.known(&kid) else {
                keys.request_fetch();
                return Err(EventError::UnknownKey);
            };
            key.verify_event(message.id, event)
        };
        tokio::join!(keys.run(), sessions.run(broker, &verify)).0
    }
}
