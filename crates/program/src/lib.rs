//! How every program starts and stops: arguments, configuration, telemetry, signals, and the
//! admin listener.

pub mod admin;
mod bootstrap;
mod config;
mod program;

pub use bootstrap::{AppContext, listen, run, run_with};
pub use config::{AdminConfig, SECTIONS};
pub use program::Program;
