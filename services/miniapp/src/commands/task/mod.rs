//! `miniapp task`: submit tasks, follow them, and decide on their fate.

mod cancel;
mod delete;
mod list;
mod reference;
mod restart;
mod show;
mod submit;
mod watch;

use clap::Subcommand;
use miniapp_types::task::Task;

use crate::context::Context;
use crate::failure::Ended;
use crate::ui::status_line;

pub use reference::TaskRef;

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Submit a task
    Submit(submit::Args),
    /// List your tasks, newest first
    List(list::Args),
    /// Show everything about a task
    Show(show::Args),
    /// Follow a task live until it ends, or all of yours until Ctrl-C
    Watch(watch::Args),
    /// Ask for the end of tasks; running ones are stopped
    Cancel(Chosen),
    /// Run ended tasks again
    Restart(Chosen),
    /// Remove tasks; running ones are stopped first
    Delete(Chosen),
}

/// Tasks that something is done to.
#[derive(Debug, clap::Args)]
pub struct Chosen {
    /// The tasks' ids; `last` is your newest one
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<TaskRef>,
}

/// Runs `command`.
pub async fn run(context: &Context, command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Submit(args) => return submit::run(context, args).await,
        Command::Watch(args) => return watch::run(context, args).await,
        Command::List(args) => list::run(context, args).await?,
        Command::Show(args) => show::run(context, args).await?,
        Command::Cancel(args) => cancel::run(context, args).await?,
        Command::Restart(args) => restart::run(context, args).await?,
        Command::Delete(args) => delete::run(context, args).await?,
    }
    Ok(Ended::Well)
}

/// Says where a task stands after something was done to it.
fn report(context: &Context, task: &Task) -> std::io::Result<()> {
    let ui = context.ui;
    if ui.json {
        return ui.json(task);
    }
    let status = status_line(ui.palette, task.status, task.status_message.as_deref());
    ui.line(format_args!("{}  {status}", task.task_id))
}
