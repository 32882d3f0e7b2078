//! The commands, one a file.

pub mod admin;
mod check;
pub mod completions;
pub mod config;
mod demo;
mod kinds;
pub mod login;
mod logout;
pub mod mail;
mod migrate;
pub mod openapi;
pub mod register;
mod serve;
mod stats;
pub mod task;
pub mod trace;
pub mod why;
mod workers;

use std::process::ExitCode;

use crate::cli::Command;
use crate::context::Context;
use crate::failure::{self, Ended};

/// Runs `command` and reports how it ended.
pub fn run(context: &Context, command: Command) -> ExitCode {
    match command {
        // These are the platform, which starts and stops as every service does.
        Command::Serve => serve::run(context),
        Command::Demo => demo::run(context),
        command => failure::exit(context.ui, &run_briefly(context, command)),
    }
}

fn run_briefly(context: &Context, command: Command) -> anyhow::Result<Ended> {
    // Fails only where one is installed already, and then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(dispatch(context, command));
    // A prompt that nobody answers must not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn dispatch(context: &Context, command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Serve | Command::Demo => {}
        Command::Register(args) => register::run(context, args).await?,
        Command::Login(args) => login::run(context, args).await?,
        Command::Logout => logout::run(context).await?,
        Command::Task(command) => return task::run(context, command).await,
        Command::Trace(args) => trace::run(context, args).await?,
        Command::Why(args) => why::run(context, args).await?,
        Command::Kinds => kinds::run(context).await?,
        Command::Workers => workers::run(context).await?,
        Command::Stats => stats::run(context).await?,
        Command::Mail(args) => mail::run(context, args).await?,
        Command::Admin(command) => admin::run(context, command).await?,
        Command::Check => check::run(context).await?,
        Command::Migrate => migrate::run(context).await?,
        Command::Config(args) => config::run(context, &args)?,
        Command::Openapi(args) => openapi::run(context, &args)?,
        Command::Completions(args) => completions::run(&args)?,
    }
    Ok(Ended::Well)
}
