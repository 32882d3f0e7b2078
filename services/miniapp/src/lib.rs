//! The whole platform in one process, and its command-line client.

mod cli;
mod commands;
mod context;
mod database;
mod demo;
mod exit;
#[cfg(test)]
mod fixtures;
mod platform;
mod program;
mod serve;
mod session_file;
mod settings;
mod ui;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub use program::PROGRAM;
pub use settings::validate;
pub use ui::TraceTree;

use cli::Cli;
use commands::Command;
use context::Context;

/// Runs the command line.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    commands::run(&Context::new(global), command.unwrap_or(Command::Serve), Cli::command)
}
