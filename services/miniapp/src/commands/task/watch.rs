//! `miniapp task watch`: watches tasks.

use std::io::IsTerminal as _;

use clap_complete::ArgValueCandidates;
use futures_util::TryStreamExt as _;
use miniapp_client::{Client, retry};
use miniapp_types::task::{Event, Status, Task};
use uuid::Uuid;

use super::task_ref::TaskRef;
use crate::commands::interrupt::interrupted;
use crate::completion;
use crate::context::Context;
use crate::exit::Outcome;
use crate::ui::format::short_id;
use crate::ui::{TaskBar, event_line, live_event_line, task_details, text};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the task, or its last 6 or more digits, or `last` for your newest one [default: all your tasks]
    #[arg(value_name = "TASK", add = ArgValueCandidates::new(completion::tasks))]
    task: Option<TaskRef>,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<Outcome> {
    let (ui, client) = (context.ui, context.client()?);
    let Some(task) = args.task else { return watch_all(context, &client).await };
    let id = task.resolve(&client).await?;
    let Some(task) = follow(context, &client, id, true).await? else {
        return Ok(Outcome::Interrupted);
    };
    if !ui.json {
        ui.line(task_details(ui.palette, &task, context.now()))?;
    }
    Ok(outcome(&task))
}

/// Watches a task until it ends. Returns `None` if a signal ended the wait, after a hint how to
/// continue.
pub async fn follow(
    context: &Context,
    client: &Client,
    id: Uuid,
    print_events: bool,
) -> anyhow::Result<Option<Task>> {
    tokio::select! {
        task = until_ended(context, client, id, print_events) => task.map(Some),
        interrupted = interrupted() => {
            interrupted?;
            // Below the progress bar.
            context.ui.note("");
            context.ui.note("Interrupted. The task continues:");
            context.ui.note(format_args!("  miniapp task watch {id}"));
            context.ui.note(format_args!("  miniapp task cancel {id}"));
            Ok(None)
        }
    }
}

/// Shows a progress bar on a terminal, otherwise a line per event if `print_events` is set.
async fn until_ended(
    context: &Context,
    client: &Client,
    id: Uuid,
    print_events: bool,
) -> anyhow::Result<Task> {
    let ui = context.ui;
    let is_piped = print_events && !std::io::stdout().is_terminal();
    let bar = (!ui.json && !is_piped && std::io::stderr().is_terminal())
        .then(|| TaskBar::new(&short_id(id), ui.notes, std::convert::identity));
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
    } else if ui.is_terminal() {
        ui.line(live_event_line(ui.palette, event).truncated(ui.width()))
    } else {
        ui.line(text![event.task_id, "  ", event_line(ui.palette, event)])
    }
}
