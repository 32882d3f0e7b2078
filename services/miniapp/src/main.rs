//! `miniapp`: the whole platform in one process, and its command-line client.

mod cli;
mod client;
mod commands;
mod context;
mod failure;
#[cfg(test)]
mod samples;
mod ui;
mod why;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use context::Context;
use failure::Ended;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let context = Context::new(global);
    let outcome = run(&context, command);
    failure::exit(context.ui, &outcome)
}

fn run(context: &Context, command: cli::Command) -> anyhow::Result<Ended> {
    // Fails only where one is installed already, and then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(commands::run(context, command))
}
