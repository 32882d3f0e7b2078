//! Accounts, sign-in, sessions and access tokens.
//!
//! [`Accounts`] is the service. It uses three ports: a [`Store`], a [`Mailer`](mail::Mailer)
//! and a [`Broker`](miniapp_broker::Broker). Rules that change several rows are
//! [`operations`], written once for all databases. Mails and messages commit in an outbox
//! together with their cause and are delivered by the [`Relay`]. [`maintenance`] rotates keys and
//! deletes expired rows.
//!
//! To verify tokens only, use [`miniapp_token`] with the published keys.

pub mod after_restore;
pub mod api_key;
pub mod audit;
mod audit_limit;
mod case_fold;
pub mod code;
mod config;
mod email;
mod error;
mod event_publisher;
mod failure_key;
mod fair_queue;
mod inbox;
pub mod keys;
mod login;
pub mod mail;
pub mod maintenance;
mod metrics;
pub mod open;
pub mod operations;
pub mod outbox;
pub mod password;
mod published_secrets;
pub mod refresh_token;
mod relay;
pub mod requests;
mod seal;
mod secret;
mod service;
pub mod session;
mod sql;
pub mod store;
mod token_hash;

pub use audit::Caller;
pub use config::{CodeConfig, MailConfig, SignInLimits, TokenConfig};
pub use email::Email;
pub use error::Error;
pub use login::{Login, LoginKey};
pub use open::{open_mailer, open_store};
pub use relay::Relay;
pub use secret::SecretError;
pub use service::{
    Accounts, Dependencies, GrantError, KeyRotation, OpenError, RotateError, VERIFICATION_TTL,
    grant_admin, rotate_keys,
};
pub use session::Identity;
pub use sql::{PostgresStore, SqliteStore};
pub use store::{Store, StoreError};
pub use token_hash::TokenHash;
