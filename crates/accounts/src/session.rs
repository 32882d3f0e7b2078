//! Sessions and the refresh tokens that keep them going.

use jiff::Timestamp;
use miniapp_types::account::{self, Account, Secret};
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::audit::Caller;
use crate::secret;

/// What is kept of a refresh token: it has 256 random bits, so a plain hash will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefreshHash(pub [u8; 32]);

impl RefreshHash {
    /// The hash of a token.
    pub fn of(token: &Secret) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.expose().as_bytes()).as_ref());
        Self(hash)
    }
}

/// A new refresh token.
pub(crate) fn new_refresh_token() -> anyhow::Result<Secret> {
    secret::random_token().map(Secret::new)
}

/// A session that is to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub account: Uuid,
    /// Its first refresh token.
    pub refresh: RefreshHash,
    /// When it begins.
    pub now: Timestamp,
    /// When it ends unless it is refreshed.
    pub expires_at: Timestamp,
    /// Who asked for it.
    pub caller: Caller,
    /// How many sessions the account may have, this one included.
    pub most: u32,
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub account: Uuid,
    /// Counts its tokens from 1 on; only the newest access token is valid.
    pub epoch: u32,
    /// When its owner signed in.
    pub created_at: Timestamp,
    /// When it got its newest tokens.
    pub last_used_at: Timestamp,
    /// When it ends unless it is refreshed.
    pub expires_at: Timestamp,
    /// When it was ended, if it was.
    pub ended_at: Option<Timestamp>,
    /// Where the sign-in came from.
    pub ip: Option<String>,
    /// What the sign-in said about its program.
    pub user_agent: Option<String>,
}

impl Session {
    /// What others have to know of it: its id, and the epoch of its tokens unless it has ended.
    pub(crate) fn standing(&self) -> (Uuid, Option<u32>) {
        (self.id, self.ended_at.is_none().then_some(self.epoch))
    }

    /// As its owner sees it, who asks from session `current`.
    pub fn shown_to(self, current: Uuid) -> account::Session {
        let Self { id, created_at, last_used_at, expires_at, ip, user_agent, .. } = self;
        let current = id == current;
        account::Session { id, created_at, last_used_at, expires_at, ip, user_agent, current }
    }
}

/// What a refresh token was worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was the session's newest; now the next one is.
    Rotated {
        /// The session after it.
        session: Box<Session>,
        /// Whose it is.
        account: Box<Account>,
    },
    /// It had been used before. Two hold the same session, so it has ended.
    Reused {
        /// The session.
        session: Uuid,
        /// Whether it was this that ended it.
        ended: bool,
    },
    /// Its session had ended.
    Ended,
    /// It was too old.
    Expired,
    /// Nobody knows it.
    Unknown,
}

/// Who a valid access token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account, as it is now.
    pub account: Account,
    /// The session.
    pub session: Uuid,
    /// When the token ends, in seconds since 1970.
    pub expires: i64,
}
