//! Signed events: changes of accounts and sessions that other services rely on, because the issuer of
//! tokens has signed them.
//!
//! The signature is part of the event, so that receivers of an earlier release can read it, too. It
//! covers the whole event and the id of its message.

use jsonwebtoken::{Algorithm, Header, decode, encode};
use miniapp_types::message::{AccountDeleted, SessionChanged};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::verifier::{VALIDATION, kid_of};
use super::{ISSUER, PublicKey, SigningKey};

/// An event with a place for its signature.
pub trait SignedEvent: Clone + PartialEq + Serialize + DeserializeOwned {
    /// The type in the header, which no token and no other event has.
    const TYPE: &'static str;

    fn signature(&self) -> Option<&str>;

    #[must_use]
    fn with_signature(self, signature: Option<String>) -> Self;
}

/// Why an event is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("it is not signed")]
    Unsigned,
    #[error("it is signed with an unknown key")]
    UnknownKey,
    #[error("its signature is wrong")]
    Forged,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "E: SignedEvent")]
struct EventClaims<E> {
    /// [`ISSUER`].
    iss: String,
    /// The id of the message.
    jti: Uuid,
    /// Without a signature.
    event: E,
}

impl SigningKey {
    /// Signs an event that is sent in the message of this id.
    pub fn sign_event<E: SignedEvent>(&self, message_id: Uuid, event: E) -> anyhow::Result<E> {
        let event = event.with_signature(None);
        let claims = EventClaims { iss: ISSUER.to_owned(), jti: message_id, event };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(E::TYPE.to_owned());
        header.kid = Some(self.kid().to_owned());
        let signature = encode(&header, &claims, self.encoding_key())?;
        Ok(claims.event.with_signature(Some(signature)))
    }
}

/// Returns the id of the key that is said to have signed an event.
pub fn key_of_event<E: SignedEvent>(event: &E) -> Result<String, EventError> {
    let signature = event.signature().ok_or(EventError::Unsigned)?;
    kid_of(signature, E::TYPE).ok_or(EventError::Forged)
}

impl PublicKey {
    /// Checks that this key has signed an event of the message of this id.
    pub fn verify_event<E: SignedEvent>(
        &self,
        message_id: Uuid,
        event: &E,
    ) -> Result<(), EventError> {
        key_of_event(event)?;
        let signature = event.signature().ok_or(EventError::Unsigned)?;
        let decoded = decode::<EventClaims<E>>(signature, self.decoding_key(), &VALIDATION);
        let signed = decoded.map_err(|_| EventError::Forged)?.claims;
        let is_same =
            signed.jti == message_id && signed.event == event.clone().with_signature(None);
        if is_same { Ok(()) } else { Err(EventError::Forged) }
    }
}

impl SignedEvent for AccountDeleted {
    const TYPE: &'static str = "account-deleted+jwt";

    fn signature(&self) -> Option<&str> {
        let Self::V1 { signature, .. } = self;
        signature.as_deref()
    }

    fn with_signature(self, signature: Option<String>) -> Self {
        let Self::V1 { user_id, .. } = self;
        Self::V1 { user_id, signature }
    }
}

impl SignedEvent for SessionChanged {
    const TYPE: &'static str = "session-changed+jwt";

    fn signature(&self) -> Option<&str> {
        let Self::V1 { signature, .. } = self;
        signature.as_deref()
    }

    fn with_signature(self, signature: Option<String>) -> Self {
        let Self::V1 { session_id, epoch, at, .. } = self;
        Self::V1 { session_id, epoch, at, signature }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::tests::{claims, published};

    const MESSAGE: Uuid = Uuid::from_u128(9);

    fn key(seed: u8) -> SigningKey {
        SigningKey::new(&format!("key-{seed}"), &[seed; 32])
    }

    fn public(seed: u8) -> PublicKey {
        PublicKey::new(&published(seed)).expect("a key")
    }

    fn deletion(user: u128) -> AccountDeleted {
        AccountDeleted::V1 { user_id: Uuid::from_u128(user), signature: None }
    }

    fn change(epoch: Option<u32>) -> SessionChanged {
        let session_id = Uuid::from_u128(2);
        SessionChanged::V1 { session_id, epoch, at: Timestamp::UNIX_EPOCH, signature: None }
    }

    fn with(event: AccountDeleted, signature: &str) -> AccountDeleted {
        event.with_signature(Some(signature.to_owned()))
    }

    #[test]
    fn signed_event_is_verified_after_it_was_sent() {
        let event = key(1).sign_event(MESSAGE, deletion(1)).expect("signed");
        let body = serde_json::to_vec(&event).expect("plain data");
        let received: AccountDeleted = serde_json::from_slice(&body).expect("an event");
        assert_eq!(key_of_event(&received), Ok("key-1".to_owned()));
        assert_eq!(public(1).verify_event(MESSAGE, &received), Ok(()));
        for epoch in [None, Some(7)] {
            let event = key(1).sign_event(MESSAGE, change(epoch)).expect("signed");
            assert_eq!(public(1).verify_event(MESSAGE, &event), Ok(()));
        }
    }

    #[test]
    fn earlier_receivers_can_read_a_signed_event() {
        #[derive(Deserialize)]
        #[serde(tag = "v", rename_all_fields = "camelCase")]
        enum Earlier {
            #[serde(rename = "1")]
            V1 { user_id: Uuid },
        }
        let event = key(1).sign_event(MESSAGE, deletion(5)).expect("signed");
        let body = serde_json::to_vec(&event).expect("plain data");
        let Earlier::V1 { user_id } = serde_json::from_slice(&body).expect("an event");
        assert_eq!(user_id, Uuid::from_u128(5));
    }

    #[test]
    fn forged_events_are_refused() {
        assert_eq!(public(1).verify_event(MESSAGE, &deletion(1)), Err(EventError::Unsigned));
        let event = key(1).sign_event(MESSAGE, deletion(1)).expect("signed");
        let signature = event.signature().expect("a signature");
        // Another key of the same id, another account, another message.
        let other = SigningKey::new("key-1", &[2; 32]).sign_event(MESSAGE, deletion(1));
        let replayed = key(1).sign_event(Uuid::from_u128(8), deletion(1));
        let foreign = key(1).sign_event(MESSAGE, change(None)).expect("signed");
        let token = key(1).sign(&claims()).expect("a token");
        let forged = [
            other.expect("signed"),
            with(deletion(2), signature),
            replayed.expect("signed"),
            with(deletion(1), foreign.signature().expect("a signature")),
            with(deletion(1), &token),
            with(deletion(1), ""),
            with(deletion(1), "a.b.c"),
            with(deletion(1), &signature[..signature.len() - 2]),
        ];
        for event in forged {
            let refused = public(1).verify_event(MESSAGE, &event);
            assert_eq!(refused, Err(EventError::Forged), "{event:?}");
        }
    }
}
