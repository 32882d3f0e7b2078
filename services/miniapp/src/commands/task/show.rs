//! `miniapp task show`: shows a task.

use clap_complete::ArgValueCandidates;

use super::task_ref::TaskRef;
use crate::completion;
use crate::context::Context;
use crate::ui::{event_line, task_details};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the task, or its last 6 or more digits, or `last` for your newest one
    #[arg(value_name = "TASK", add = ArgValueCandidates::new(completion::tasks))]
    task: TaskRef,
    /// Show its events, too
    #[arg(long, short)]
    events: bool,
}

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
    ui.line(task_details(ui.palette, &task, context.now()))?;
    if let Some(timeline) = timeline {
        ui.line("")?;
        for event in &timeline.events {
            ui.line(event_line(ui.palette, event))?;
        }
    }
    Ok(())
}
