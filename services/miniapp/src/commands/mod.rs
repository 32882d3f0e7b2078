//! The commands, one per file.

mod admin;
mod audit;
mod backup;
mod check;
mod completions;
mod config;
mod dead_letters;
mod demo;
mod interrupt;
mod key;
mod kinds;
mod login;
mod logout;
mod mail;
mod migrate;
mod openapi;
mod paging;
mod passwd;
mod queues;
mod register;
mod restore;
mod serve;
mod sessions;
mod stats;
mod task;
mod trace;
mod users;
mod whoami;
mod why;
mod worker;
mod workers;

use std::process::ExitCode;

use self::paging::PageArgs;

use crate::context::Context;
use crate::exit::{self, Outcome, UsageError};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the whole platform in this process (the default)
    Serve,
    /// Run a short demonstration on a temporary platform
    Demo,
    /// Create an account and sign in
    Register(register::Args),
    /// Sign in and store the session for the other commands
    Login(login::Args),
    /// Sign out and remove the stored session
    Logout,
    /// Show the signed-in account
    Whoami,
    /// Change your password
    Passwd(passwd::Args),
    /// List and end your sessions
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Create, list and revoke API keys for scripts and workers
    #[command(subcommand, visible_alias = "keys")]
    Key(key::Command),
    /// Submit, list, watch and control tasks
    #[command(subcommand, visible_alias = "tasks")]
    Task(task::Command),
    /// Show the trace of a task
    Trace(trace::Args),
    /// Explain the status of a task and what happens next
    Why(why::Args),
    /// List the kinds of task that the workers run
    Kinds,
    /// List queues with the number of waiting and running tasks
    Queues,
    /// Run a command for each task of a kind
    Worker(worker::Args),
    /// List the live workers
    Workers,
    /// Show the number of tasks by status
    Stats,
    /// List and requeue the failed tasks of all accounts, as an admin
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// List accounts, change their roles, disable and enable them, as an admin
    #[command(subcommand)]
    Users(users::Command),
    /// List the audit log, as an admin
    Audit(PageArgs),
    /// List mail in the embedded inbox
    Mail(mail::Args),
    /// Administer accounts directly in the database
    #[command(subcommand)]
    Admin(admin::Command),
    /// Check the consistency of all tasks in the database
    Check,
    /// Copy the embedded database to a file, also while the platform runs
    Backup(backup::Args),
    /// Replace the embedded database by a backup
    Restore(restore::Args),
    /// Create or update the tables in the database
    Migrate,
    /// Show the effective configuration and the source of each value
    Config(config::Args),
    /// Print the OpenAPI document of a service
    Openapi(openapi::Args),
    /// Print a shell completion script
    Completions(completions::Args),
}

impl Command {
    /// Rejects the selection of a platform for commands that use none, instead of running them
    /// on something else than what was selected.
    fn check_url(&self, context: &Context) -> Result<(), UsageError> {
        let (instead, uses_database) = match self {
            Self::Serve => {
                ("runs a platform; its addresses are settings, see `miniapp config`", false)
            }
            Self::Demo => ("runs on a temporary platform", false),
            Self::Config(_) | Self::Openapi(_) | Self::Completions(_) => {
                ("uses no platform", false)
            }
            Self::Mail(_)
            | Self::Admin(_)
            | Self::Check
            | Self::Migrate
            | Self::Backup(_)
            | Self::Restore(_) => {
                ("uses the database of the configuration; select one with --config", true)
            }
            _ => return Ok(()),
        };
        if context.is_url_given {
            return Err(UsageError(format!("--url does not apply: this command {instead}")));
        }
        // Ignored in the environment, unless that would show the data of another platform.
        if uses_database && context.selects_another_platform() {
            return Err(UsageError(format!(
                "MINIAPP_URL selects another platform, but this command {instead}, or unset it"
            )));
        }
        Ok(())
    }
}

/// Runs `command` and reports its outcome.
pub fn run(context: &Context, command: Command) -> ExitCode {
    if let Err(error) = command.check_url(context) {
        return exit::report(context.ui, &Err(error.into()));
    }
    match command {
        // These two start and stop like every service.
        Command::Serve => serve::run(context),
        Command::Demo => demo::run(context),
        command => exit::report(context.ui, &run_client(context, command)),
    }
}

fn run_client(context: &Context, command: Command) -> anyhow::Result<Outcome> {
    // Fails only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(dispatch(context, command));
    // An unanswered prompt must not delay the exit.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(context: &Context, command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Serve | Command::Demo => {}
        Command::Register(args) => {
            register::run(context, args).await.map_err(|error| context.explain_auth(error))?;
        }
        Command::Login(args) => {
            login::run(context, args).await.map_err(|error| context.explain_auth(error))?;
        }
        Command::Logout => logout::run(context).await?,
        Command::Whoami => whoami::run(context).await?,
        Command::Passwd(args) => passwd::run(context, args).await?,
        Command::Sessions(command) => sessions::run(context, command).await?,
        Command::Key(command) => key::run(context, command).await?,
        Command::DeadLetters(command) => return dead_letters::run(context, command).await,
        Command::Users(command) => users::run(context, command).await?,
        Command::Audit(args) => audit::run(context, args).await?,
        Command::Task(command) => return task::run(context, command).await,
        Command::Trace(args) => trace::run(context, args).await?,
        Command::Why(args) => why::run(context, args).await?,
        Command::Kinds => kinds::run(context).await?,
        Command::Queues => queues::run(context).await?,
        Command::Worker(args) => worker::run(context, args).await?,
        Command::Workers => workers::run(context).await?,
        Command::Stats => stats::run(context).await?,
        Command::Mail(args) => mail::run(context, args).await?,
        Command::Admin(command) => admin::run(context, command).await?,
        Command::Check => check::run(context).await?,
        Command::Backup(args) => return backup::run(context, &args).await,
        Command::Restore(args) => return restore::run(context, &args).await,
        Command::Migrate => migrate::run(context).await?,
        Command::Config(args) => config::run(context, &args)?,
        Command::Openapi(args) => openapi::run(context, &args)?,
        Command::Completions(args) => completions::run(context, &args)?,
    }
    Ok(Outcome::Success)
}
