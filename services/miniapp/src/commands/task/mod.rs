//! `miniapp task`: submits, lists, watches and controls tasks.

mod cancel;
mod delete;
mod each;
mod list;
mod report;
mod restart;
mod show;
mod submit;
mod task_ref;
mod watch;

use crate::context::Context;
use crate::exit::Outcome;

pub use each::change_each;
pub use report::report;
pub use task_ref::{TaskRef, TaskRefs, is_part};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Submit a task
    Submit(Box<submit::Args>),
    /// List your tasks, newest first
    List(list::Args),
    /// Show a task
    Show(show::Args),
    /// Watch a task until it ends, or all your tasks until Ctrl-C
    Watch(watch::Args),
    /// Cancel tasks; running ones are stopped
    Cancel(TaskRefs),
    /// Run ended tasks again
    Restart(TaskRefs),
    /// Delete tasks; running ones are stopped first
    Delete(TaskRefs),
}

pub async fn run(context: &Context, command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Submit(args) => return submit::run(context, *args).await,
        Command::Watch(args) => return watch::run(context, args).await,
        Command::Cancel(args) => return cancel::run(context, args).await,
        Command::Restart(args) => return restart::run(context, args).await,
        Command::Delete(args) => return delete::run(context, args).await,
        Command::List(args) => list::run(context, args).await?,
        Command::Show(args) => show::run(context, args).await?,
    }
    Ok(Outcome::Success)
}
