//! `miniapp`: the whole platform in one process, and its command-line client.

mod bench;
mod cli;
mod client;
mod commands;
mod context;
mod demo;
mod failure;
mod platform;
#[cfg(test)]
mod samples;
mod serve;
mod store;
mod ui;
mod why;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use context::Context;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    commands::run(&Context::new(global), command.unwrap_or(Command::Serve))
}
