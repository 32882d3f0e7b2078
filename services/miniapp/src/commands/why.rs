//! `miniapp why`: why a task stands where it stands, and what happens next.

use super::task::TaskRef;
use crate::context::Context;
use crate::ui::{Tone, status_tone};
use crate::why::{Case, explain};

/// Which task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The task's id; `last` is your newest one
    #[arg(value_name = "TASK")]
    task: TaskRef,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let id = args.task.resolve(&client).await?;
    let (task, timeline, workers) =
        tokio::try_join!(client.task(id), client.timeline(id), client.workers())?;
    let explanation = explain(Case {
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
        title = format!("{title} ({})", task.kind);
    }
    ui.line(format_args!("{title} is {status}."))?;
    for sentence in explanation.story.iter().chain([&explanation.because]) {
        ui.line(format_args!("  {sentence}"))?;
    }
    Ok(ui.line(format_args!("{} {}", ui.palette.paint(Tone::Dim, "Next:"), explanation.next))?)
}
