//! The whole platform in one process, and its command-line client.

mod cli;
mod commands;
mod context;
mod demo;
mod failure;
mod platform;
#[cfg(test)]
mod samples;
mod serve;
mod session_file;
mod settings;
mod store;
mod ui;
mod why;

use std::process::ExitCode;

use clap::Parser as _;
use miniapp_program::Program;

pub use settings::validate;

/// The program that runs the whole platform.
pub const PROGRAM: Program = Program {
    name: "miniapp",
    about: "Accounts, tokens and background tasks in one process",
    admin_port: 9000,
    sections: &[validate],
    version: env!("CARGO_PKG_VERSION"),
    revision: option_env!("MINIAPP_REVISION"),
    keeps_traces: true,
};

use cli::{Cli, Command};
use context::Context;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    commands::run(&Context::new(global), command.unwrap_or(Command::Serve))
}
