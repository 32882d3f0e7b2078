//! `miniapp task show`: shows a task.

use anyhow::bail;
use clap_complete::ArgValueCandidates;
use miniapp_client::{Client, Code, Error, TaskQuery};
use miniapp_types::account::Role;
use miniapp_types::task::Task;

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

/// Returns a task of the caller; for admins, also one of another account.
async fn find(client: &Client, reference: &TaskRef) -> anyhow::Result<Task> {
    let own = async {
        let id = reference.resolve(client).await?;
        anyhow::Ok(client.task(id).await?)
    };
    match own.await {
        Err(error) if is_not_found(&error) && is_admin(client).await => {
            find_any(client, reference).await?.ok_or(error)
        }
        found => found,
    }
}

async fn find_any(client: &Client, reference: &TaskRef) -> anyhow::Result<Option<Task>> {
    let owner = Some("*".to_owned());
    let list =
        async |query: TaskQuery| client.tasks(&TaskQuery { owner: owner.clone(), ..query }).await;
    let id = Some(reference.resolve_among(list).await?);
    let query = TaskQuery { id, owner, ..TaskQuery::default() };
    Ok(client.tasks(&query).await?.tasks.pop())
}

fn is_not_found(error: &anyhow::Error) -> bool {
    // Other errors are about an abbreviated id.
    let client = error.downcast_ref::<Error>();
    client.is_none_or(|error| error.code() == Some(Code::TaskNotFound))
}

async fn is_admin(client: &Client) -> bool {
    client.token_info().await.is_ok_and(|token| token.roles.contains(&Role::Admin))
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let task = find(&client, &args.task).await?;
    if args.events && task.owner.is_some() {
        bail!("only its owner can read the events of task {}", task.task_id);
    }
    let timeline = if args.events { Some(client.timeline(task.task_id).await?) } else { None };
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
