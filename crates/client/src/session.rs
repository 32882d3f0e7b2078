//! The tokens of the signed-in account, and where they are stored.

use std::any::Any;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use miniapp_types::account::Secret;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Tokens of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The base URL of the auth service that issued the tokens.
    #[serde(rename = "auth")]
    pub auth_url: String,
    pub login: String,
    #[serde(rename = "access")]
    pub access_token: Secret,
    #[serde(rename = "refresh")]
    pub refresh_token: Secret,
}

/// Storage for a [`Session`], shared by everyone that uses the same tokens.
#[async_trait]
pub trait SessionStore: std::fmt::Debug + Send + Sync {
    /// Returns the stored session.
    fn load(&self) -> Option<Session>;

    /// Replaces the stored session, or removes it.
    fn save(&self, session: Option<Session>) -> io::Result<()>;

    /// Waits for exclusive access, which the client holds while it refreshes tokens.
    ///
    /// A refresh token is valid once. For a few seconds the server returns the same tokens again;
    /// later it takes the second use for theft and ends the session. After this call,
    /// [`load`](Self::load) returns what the previous holder saved.
    async fn lock(&self) -> io::Result<SessionLock>;
}

/// Guard of [`SessionStore::lock`]. Dropping it releases the lock.
pub type SessionLock = Box<dyn Any + Send>;

/// Stores the session in memory. This is the default.
#[derive(Debug, Default)]
pub struct MemoryStore {
    session: Mutex<Option<Session>>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

#[async_trait]
impl SessionStore for MemoryStore {
    fn load(&self) -> Option<Session> {
        self.session.lock().clone()
    }

    fn save(&self, session: Option<Session>) -> io::Result<()> {
        *self.session.lock() = session;
        Ok(())
    }

    async fn lock(&self) -> io::Result<SessionLock> {
        Ok(Box::new(Arc::clone(&self.lock).lock_owned().await))
    }
}
