//! Tasks over HTTP, with live events.
//!
//! A request passes the check of its [token], then its endpoint in `routes`, which asks
//! [`miniapp_tasks::Tasks`]. Beside that a process listens to the broker: to auth's news of
//! sessions, to the news of tasks for the `live` streams, and to news of accounts that
//! are gone.

mod config;
mod deletions;
mod kinds;
mod live;
mod openapi;
mod routes;
mod service;
mod state;
#[cfg(test)]
mod testing;
pub mod token;

use miniapp_program::Program;

pub use config::{ApiConfig, AuthServerConfig};
pub use service::{Dependencies, openapi, run, serve};

/// The program that consists of this service alone.
pub const PROGRAM: Program = Program {
    name: "api",
    about: "Tasks over HTTP",
    admin_port: 9000,
    sections: config::SECTIONS,
    version: env!("CARGO_PKG_VERSION"),
    revision: option_env!("MINIAPP_REVISION"),
    keeps_traces: false,
};
