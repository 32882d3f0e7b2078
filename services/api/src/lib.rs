//! The API service: tasks over HTTP, with live events.
//!
//! A request is authenticated by its [token], then handled by its endpoint in `routes`, which
//! calls [`miniapp_tasks::Tasks`]. In the background, the service receives messages: session
//! changes for token verification, task events for the `live` streams, and account
//! deletions.

mod config;
mod deletions;
mod error;
mod kinds;
mod live;
mod openapi;
mod remote;
mod routes;
mod schema;
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
