//! Sessions.

use jiff::Timestamp;
use miniapp_types::account::{self, Account};
use uuid::Uuid;

use crate::audit::Caller;
use crate::refresh_token::Salt;
use crate::token_hash::TokenHash;

/// The epoch of a new session.
pub const FIRST_EPOCH: u32 = 1;

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub id: Uuid,
    pub account: Uuid,
    /// The program or device that signs in.
    pub client: String,
    pub refresh: TokenHash,
    pub now: Timestamp,
    /// When the session expires unless it is refreshed.
    pub expires_at: Timestamp,
    pub caller: Caller,
    /// Sessions that the account may have, this one included.
    pub limit: u32,
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub account: Uuid,
    /// The program or device that signed in.
    pub client: String,
    /// Incremented by each refresh. Only access tokens of the current epoch are valid.
    pub epoch: u32,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// When the session expires unless it is refreshed.
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The address of the sign-in.
    pub ip: Option<String>,
    /// The user agent of the sign-in.
    pub user_agent: Option<String>,
}

impl Session {
    /// Returns what an event says about the session: its id, and its epoch unless it ended.
    pub(crate) fn id_and_epoch(&self) -> (Uuid, Option<u32>) {
        (self.id, self.ended_at.is_none().then_some(self.epoch))
    }

    /// Returns the session as the API shows it to its owner, whose request belongs to the
    /// session `current`.
    pub fn into_response(self, current: Uuid) -> account::Session {
        account::Session {
            id: self.id,
            client: self.client,
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            expires_at: self.expires_at,
            ip: self.ip,
            user_agent: self.user_agent,
            current: self.id == current,
        }
    }
}

/// The session of a refresh token that was used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpentToken {
    pub session: Session,
    /// The current token of the session.
    pub current: TokenHash,
    /// What the current token was derived with.
    pub salt: Option<Salt>,
}

/// The owner of a valid access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's current state.
    pub account: Account,
    pub session: Uuid,
    /// The epoch of the token in its session.
    pub epoch: u32,
    /// When the token expires, in seconds since 1970.
    pub expires: i64,
}
