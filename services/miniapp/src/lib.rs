//! The whole platform in one process, and its command-line client.

mod after_restore;
mod cli;
mod command_worker;
mod commands;
mod completion;
mod context;
mod database;
mod demo;
mod environment_key;
mod exit;
#[cfg(test)]
mod fixtures;
mod pending;
mod platform;
mod program;
mod serve;
mod session_file;
mod settings;
mod ui;
mod why;

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::CompleteEnv;
use miniapp_worker::{Builder, Extension, Launch};

pub use platform::Platform;
pub use program::PROGRAM;
pub use settings::validate;
pub use ui::TraceTree;

use cli::Cli;
use commands::Command;
use context::Context;

impl Platform {
    /// Builds a program with kinds and settings of its own: the whole platform and the command
    /// line.
    pub fn builder() -> Builder<Self> {
        Builder::default()
    }
}

impl Launch for Platform {
    fn launch(extension: Extension) -> ExitCode {
        // Ends the process if a shell has called it for completion.
        CompleteEnv::with_factory(Cli::command).var(completion::VARIABLE).complete();
        match cli::parse(std::env::args_os()) {
            Ok((Cli { global, command }, is_url_given)) => {
                let command = command.unwrap_or(Command::Serve);
                commands::run(&Context::new(global, is_url_given, extension), command)
            }
            Err((ui, error)) => exit::report_usage(ui, &error),
        }
    }
}
