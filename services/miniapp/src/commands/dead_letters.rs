//! `miniapp dead-letters`: lists and requeues the failed tasks of all accounts.

use miniapp_client::PageQuery;
use miniapp_types::task::TaskPage;
use uuid::Uuid;

use super::paging::PageArgs;
use super::task::{TaskRefs, change_each, report};
use crate::context::Context;
use crate::exit::Outcome;
use crate::ui::format::{between, short_id};
use crate::ui::{Table, Tone};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List failed tasks, newest first
    List(PageArgs),
    /// Run failed tasks again
    Requeue(TaskRefs),
}

pub async fn run(context: &Context, command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::List(args) => list(context, &args).await.map(|()| Outcome::Success),
        Command::Requeue(tasks) => requeue(context, tasks).await,
    }
}

async fn list(context: &Context, args: &PageArgs) -> anyhow::Result<()> {
    let (ui, client) = (context.ui, context.client()?);
    let listed = args.read(async |query| {
        let page = client.dead_letters(&query).await?;
        Ok((page.tasks, page.next_cursor))
    });
    let listed = listed.await?;
    if ui.json {
        let page = TaskPage { tasks: listed.entries, next_cursor: listed.next_cursor };
        return Ok(ui.json(&page)?);
    }
    if listed.entries.is_empty() {
        ui.note("No failed tasks.");
        return Ok(());
    }
    let now = context.now();
    let header = ["TASK", "OWNER", "KIND", "ATTEMPTS", "FAILED", "ERROR", "DESCRIPTION"];
    let mut table = Table::new(ui.palette, &header).with_single_lines();
    for task in &listed.entries {
        let text = |id: Uuid| if ui.is_terminal() { short_id(id) } else { id.to_string() };
        let failed = task.execution_finished_at.unwrap_or(task.created_at);
        table.row([
            (text(task.task_id).as_str(), Tone::Strong),
            (&task.owner.map(text).unwrap_or_default(), Tone::Strong),
            (&task.kind, Tone::Strong),
            (&task.attempt.to_string(), Tone::Strong),
            (&between(failed, now), Tone::Dim),
            (task.error.as_ref().map_or("", |error| &error.code), Tone::Bad),
            (&task.description, Tone::Strong),
        ]);
    }
    ui.line(table.to_text())?;
    if listed.next_cursor.is_some() {
        ui.note("There are more failed tasks; use --all or a larger --limit.");
    }
    Ok(())
}

async fn requeue(context: &Context, tasks: TaskRefs) -> anyhow::Result<Outcome> {
    let client = context.client()?;
    let dead_letters = async |query: miniapp_client::TaskQuery| {
        client.dead_letters(&PageQuery { limit: query.limit, cursor: query.cursor }).await
    };
    let requeue = async |id| client.requeue(id).await;
    change_each(context, tasks, dead_letters, requeue, |_, task| report(context, task)).await
}
