//! `miniapp task show`: everything about a task.

use super::TaskRef;
use crate::context::Context;
use crate::ui::{event_line, task_sheet};

/// Which task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The task's id; `last` is your newest one
    #[arg(value_name = "TASK")]
    task: TaskRef,
    /// Its timeline as well
    #[arg(long, short)]
    events: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let id = args.task.resolve(&client).await?;
    let task = client.task(id).await?;
    let timeline = if args.events { Some(client.timeline(id).await?) } else { None };
    if ui.json {
        let mut document = serde_json::to_value(&task)?;
        if let Some(timeline) = timeline {
            document["events"] = serde_json::to_value(timeline.events)?;
        }
        return Ok(ui.json(&document)?);
    }
    ui.line(task_sheet(ui.palette, &task, context.now()))?;
    if let Some(timeline) = timeline {
        ui.line("")?;
        for event in &timeline.events {
            ui.line(event_line(ui.palette, event))?;
        }
    }
    Ok(())
}
