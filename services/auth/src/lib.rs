//! Accounts, sessions and tokens over HTTP.
//!
//! A request passes the check of its `token`, where it needs one, then its endpoint in
//! `routes`, which asks [`miniapp_accounts::Accounts`]. Beside that a process sends mails and
//! messages that are owed, and looks after the signing keys.

mod body;
mod config;
mod error;
mod openapi;
mod routes;
mod service;
mod token;

#[cfg(test)]
mod testing;

use miniapp_program::Program;

pub use config::AuthConfig;
pub use service::{Auth, openapi, serve};

/// The program that consists of this service alone.
pub const PROGRAM: Program = Program {
    name: "auth",
    about: "Accounts, sessions and tokens",
    admin_port: 9005,
    sections: config::SECTIONS,
    version: env!("CARGO_PKG_VERSION"),
    revision: option_env!("MINIAPP_REVISION"),
    keeps_traces: false,
};
