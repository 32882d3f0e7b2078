//! `miniapp why`: explains the status of a task.

use super::task::TaskRef;
use crate::context::Context;
use crate::ui::{Tone, status_tone};
use crate::why::{Facts, explain};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the task, or `last` for your newest one
    #[arg(value_name = "TASK")]
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
        title = format!("{title} ({})", task.kind);
    }
    ui.line(format_args!("{title} is {status}."))?;
    for sentence in explanation.history.iter().chain([&explanation.reason]) {
        ui.line(format_args!("  {sentence}"))?;
    }
    Ok(ui.line(format_args!("{} {}", ui.palette.paint(Tone::Dim, "Next:"), explanation.next))?)
}
