//! Accounts, sessions and tokens over HTTP.
//!
//! The extractors in `token` authenticate a request; the endpoints in `routes` call
//! [`miniapp_accounts::Accounts`]. In the background the service delivers outbox messages and
//! maintains the signing keys.

mod body;
mod config;
mod error;
mod openapi;
mod registration_cookie;
mod routes;
mod service;
mod token;

#[cfg(test)]
mod testing;

use miniapp_program::Program;

pub use config::AuthConfig;
pub use service::{Auth, openapi, serve};

/// The program that runs only this service.
pub const PROGRAM: Program = Program {
    name: "auth",
    about: "Accounts, sessions and tokens",
    admin_port: 9005,
    sections: config::SECTIONS,
    version: env!("CARGO_PKG_VERSION"),
    revision: option_env!("MINIAPP_REVISION"),
    keeps_traces: false,
};
