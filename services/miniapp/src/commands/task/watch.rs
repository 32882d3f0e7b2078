//! `miniapp task watch`: follows tasks live.

use std::io::IsTerminal as _;

use futures_util::TryStreamExt as _;
use miniapp_client::{Client, retry};
use miniapp_types::task::{Event, Status, Task};
use uuid::Uuid;

use super::TaskRef;
use crate::context::Context;
use crate::failure::Ended;
use crate::ui::{TaskBar, event_line, task_sheet};

/// Which task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The task's id; `last` is your newest one. Without it, all of yours
    #[arg(value_name = "TASK")]
    task: Option<TaskRef>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<Ended> {
    let (ui, client) = (context.ui, context.client()?);
    let Some(task) = args.task else { return all(context, &client).await };
    let id = task.resolve(&client).await?;
    let task = follow(context, &client, id, true).await?;
    if !ui.json {
        ui.line(task_sheet(ui.palette, &task, context.now()))?;
    }
    Ok(ended(&task))
}

/// Follows a task to its end: with a progress bar on a terminal, otherwise with a line
/// for each event if `lines` are wanted and go somewhere else.
pub async fn follow(
    context: &Context,
    client: &Client,
    id: Uuid,
    lines: bool,
) -> anyhow::Result<Task> {
    let ui = context.ui;
    let is_read_later = lines && !std::io::stdout().is_terminal();
    let bar = (!ui.json && !is_read_later && std::io::stderr().is_terminal()).then(|| {
        let name = id.to_string();
        // The random end of the id; the beginning is the time and much alike.
        TaskBar::new(&name[name.len() - 8..], ui.notes, std::convert::identity)
    });
    let mut events = client.watch(id);
    while let Some(event) = events.try_next().await? {
        match &bar {
            Some(bar) => bar.show(&event),
            None if lines => tell(context, &event)?,
            None => {}
        }
    }
    if let Some(bar) = bar {
        bar.clear();
    }
    // A platform that stops tells the last event and goes; it may come back.
    Ok(retry(|| client.task(id)).await?)
}

/// How a command ends that waited for `task`.
pub fn ended(task: &Task) -> Ended {
    if task.status == Status::Finished { Ended::Well } else { Ended::TaskNotFinished }
}

async fn all(context: &Context, client: &Client) -> anyhow::Result<Ended> {
    let mut events = client.watch_all().await?;
    context.ui.note("Watching all of your tasks; Ctrl-C ends it.");
    while let Some(event) = events.try_next().await? {
        tell(context, &event)?;
    }
    Ok(Ended::Well)
}

fn tell(context: &Context, event: &Event) -> std::io::Result<()> {
    let ui = context.ui;
    if ui.json {
        ui.json_line(event)
    } else {
        ui.line(format_args!("{}  {}", event.task_id, event_line(ui.palette, event)))
    }
}
