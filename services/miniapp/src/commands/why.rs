//! `miniapp why`: explains the status of a task.

use clap_complete::ArgValueCandidates;

use super::task::TaskRef;
use crate::completion;
use crate::context::Context;
use crate::ui::{Tone, status_tone, text};
use crate::why::{Facts, explain};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the task, or its last 6 or more digits, or `last` for your newest one
    #[arg(value_name = "TASK", add = ArgValueCandidates::new(completion::tasks))]
    task: TaskRef,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let id = args.task.resolve(&client).await?;
    let (task, timeline, workers) =
        tokio::try_join!(client.task(id), client.timeline(id), client.workers())?;
    let explanation = explain(Facts {
        task: &task,
        events: &timeline.events,
        workers: &workers.workers,
        now: context.now(),
    });
    if ui.json {
        return Ok(ui.json(&explanation)?);
    }
    let status = ui.palette.paint(status_tone(task.status), task.status);
    let mut title = ui.palette.paint(Tone::Strong, &task.description);
    if task.description != task.kind {
        title.push(format_args!(" ({})", task.kind));
    }
    ui.line(text![title, " is ", status, "."])?;
    for sentence in explanation.history.iter().chain([&explanation.reason]) {
        ui.line(format_args!("  {sentence}"))?;
    }
    Ok(ui.line(text![ui.palette.paint(Tone::Dim, "Next:"), " ", explanation.next])?)
}
