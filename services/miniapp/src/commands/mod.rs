//! The commands, one a file.

pub mod completions;
pub mod config;
pub mod kinds;
pub mod login;
pub mod logout;
pub mod register;
pub mod stats;
pub mod task;
pub mod why;
pub mod workers;

use crate::cli::Command;
use crate::context::Context;
use crate::failure::Ended;

/// Runs `command`.
pub async fn run(context: &Context, command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Register(args) => register::run(context, args).await?,
        Command::Login(args) => login::run(context, args).await?,
        Command::Logout => logout::run(context).await?,
        Command::Task(command) => return task::run(context, command).await,
        Command::Why(args) => why::run(context, args).await?,
        Command::Kinds => kinds::run(context).await?,
        Command::Workers => workers::run(context).await?,
        Command::Stats => stats::run(context).await?,
        Command::Config(args) => config::run(context, &args)?,
        Command::Completions(args) => completions::run(&args)?,
    }
    Ok(Ended::Well)
}
