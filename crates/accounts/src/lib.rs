//! Accounts: who there is, how they prove it, and the tokens that say so.
//!
//! [`Accounts`] is everything that can be done. It stands on three ports: a [`Store`],
//! a [`Mailer`](mail::Mailer) and a [`Broker`](miniapp_broker::Broker). What it owes to others
//! (mails, messages) commits with the change that causes it and is done by the
//! [`Relay`]; what time does (rotating keys, forgetting) is done by [`upkeep`].
//!
//! Whoever only verifies tokens takes [`miniapp_token`] with the published keys.

pub mod audit;
pub mod code;
mod config;
mod email;
mod error;
mod event_publisher;
pub mod keys;
mod login;
pub mod mail;
mod metrics;
pub mod open;
pub mod outbox;
pub mod password;
pub mod postgres;
pub mod requests;
mod seal;
pub mod secret;
mod service;
pub mod session;
pub mod sqlite;
pub mod store;
pub mod upkeep;

pub use audit::Caller;
pub use config::{CodeConfig, MailConfig, SignInLimits, TokenConfig};
pub use email::Email;
pub use error::Error;
pub use login::Login;
pub use open::{open_mailer, open_store};
pub use outbox::Relay;
pub use service::{Accounts, Dependencies, FIRST_EPOCH, GrantError, OpenError, grant_admin};
pub use session::Identity;
pub use store::{Store, StoreError};
