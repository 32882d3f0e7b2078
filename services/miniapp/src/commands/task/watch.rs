//! `miniapp task watch`: watches tasks.

use std::io::IsTerminal as _;

use futures_util::TryStreamExt as _;
use miniapp_client::{Client, retry};
use miniapp_types::task::{Event, Status, Task};
use uuid::Uuid;

use super::task_ref::TaskRef;
use crate::context::Context;
use crate::exit::Outcome;
use crate::ui::{TaskBar, event_line, task_details};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the task, or `last` for your newest one [default: all your tasks]
    #[arg(value_name = "TASK")]
    task: Option<TaskRef>,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<Outcome> {
    let (ui, client) = (context.ui, context.client()?);
    let Some(task) = args.task else { return watch_all(context, &client).await };
    let id = task.resolve(&client).await?;
    let task = follow(context, &client, id, true).await?;
    if !ui.json {
        ui.line(task_details(ui.palette, &task, context.now()))?;
    }
    Ok(outcome(&task))
}

/// Watches a task until it ends: with a progress bar on a terminal, otherwise with a line
/// per event if `print_events` is set.
pub async fn follow(
    context: &Context,
    client: &Client,
    id: Uuid,
    print_events: bool,
) -> anyhow::Result<Task> {
    let ui = context.ui;
    let is_piped = print_events && !std::io::stdout().is_terminal();
    let bar = (!ui.json && !is_piped && std::io::stderr().is_terminal()).then(|| {
        let name = id.to_string();
        // The random end of the id. The beginning is the time, the same for many tasks.
        TaskBar::new(&name[name.len() - 8..], ui.notes, std::convert::identity)
    });
    let mut events = client.watch(id);
    while let Some(event) = events.try_next().await? {
        match &bar {
            Some(bar) => bar.update(&event),
            None if print_events => print_event(context, &event)?,
            None => {}
        }
    }
    if let Some(bar) = bar {
        bar.clear();
    }
    // The platform may restart after the last event.
    Ok(retry(|| client.task(id)).await?)
}

/// Returns the outcome of a command that waited for `task`.
pub fn outcome(task: &Task) -> Outcome {
    if task.status == Status::Finished { Outcome::Success } else { Outcome::TaskNotFinished }
}

async fn watch_all(context: &Context, client: &Client) -> anyhow::Result<Outcome> {
    let mut events = client.watch_all().await?;
    context.ui.note("Watching all your tasks. Press Ctrl-C to stop.");
    while let Some(event) = events.try_next().await? {
        print_event(context, &event)?;
    }
    Ok(Outcome::Success)
}

fn print_event(context: &Context, event: &Event) -> std::io::Result<()> {
    let ui = context.ui;
    if ui.json {
        ui.json_line(event)
    } else {
        ui.line(format_args!("{}  {}", event.task_id, event_line(ui.palette, event)))
    }
}
