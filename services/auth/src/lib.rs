//! Accounts, sessions and tokens over HTTP.
//!
//! A request passes the check of its `token`, where it needs one, then its endpoint in
//! `routes`, which asks [`miniapp_accounts::Accounts`]. Beside that a process sends mails and
//! messages that are owed, and looks after the signing keys.

mod body;
mod error;
mod openapi;
mod routes;
mod service;
mod token;

#[cfg(test)]
mod testing;

pub use service::{Auth, openapi, serve};
